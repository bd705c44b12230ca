"""Writes python.safetensors: what Python's safetensors 0.8 makes of a few small tensors."""
import torch
from safetensors.torch import save_file

weight = torch.tensor([[0.0, 1.5, -2.0], [3.25, 4.0, -5.0]])
half = torch.tensor([1.0, -0.5], dtype=torch.bfloat16)
index = torch.tensor([3, -1], dtype=torch.int64)
save_file({"weight": weight, "half": half, "index": index}, "python.safetensors", metadata={"format": "pt"})
