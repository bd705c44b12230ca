"""Writes torch_zip.pt and torch_old.pt (one state dict in both formats), torch_code.pt (a pickle that calls a function) and torch_shared.pt (a
hundred names of one storage, which would be forty times the file)."""
import collections

import torch

base = torch.arange(6, dtype=torch.float32)
state = collections.OrderedDict()
state["conv.weight"] = torch.nn.Parameter(base.view(2, 3))
state["turned"] = base.view(2, 3).t()
state["tail"] = base[4:]
state["half"] = torch.tensor([0.5, -1.5], dtype=torch.float16)
state["double"] = torch.tensor([0.25], dtype=torch.float64)
state["scalar"] = torch.tensor(7.0)
state["count"] = torch.tensor([3, -1])
torch.save({"epoch": 3, "lr": 0.1, "state_dict": state}, "torch_zip.pt")
torch.save(state, "torch_old.pt", _use_new_zipfile_serialization=False)


class Call:
    def __reduce__(self):
        return print, ("hello",)


torch.save({"weight": Call()}, "torch_code.pt", _use_new_zipfile_serialization=False)

one = torch.zeros(1024)
torch.save({"n%d" % name: one for name in range(100)}, "torch_shared.pt", _use_new_zipfile_serialization=False)
