"""Writes zoo_outputs.json: what PyTorch answers, a few numbers a network, for weights and images that a formula gives.

    python golden/zoo_outputs.py [NAME ..]

needs what zoo_parity.py needs. The tests of squeeze-infer make the same weights and images and compare. Networks of more than
15 million parameters are left out. Names that are given are made anew, the others stay. Of several outputs the numbers come one behind the other.
"""
import json
import os
import sys

import numpy as np
import torch

NAMES, sys.argv = sys.argv[1:], [sys.argv[0], ""]
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import zoo_parity  # noqa: E402

COUNT = 12
IMAGES = [
    "squeezenet1_0", "squeezenet1_1", "resnet18", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small",
    "mobilenet_v4_conv_small", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0", "mnasnet0_5",
    "mnasnet0_75", "mnasnet1_0", "mnasnet1_3", "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "regnet_y_400mf",
    "deeplabv3_mobilenet_v3_large", "deeplabv3plus_mobilenet", "lraspp_mobilenet_v3_large", "unet_small", "ssdlite320_mobilenet_v3_large",
    "deit_tiny", "squeezenas_lat_small", "squeezenas_lat_large", "squeezenas_lat_xlarge", "squeezenas_mac_small", "squeezenas_mac_large", "squeezenas_mac_xlarge",
]
TEXTS = ["bert-tiny", "bert-mini", "tinybert-l4-h312", "electra-small", "albert-base", "lite-transformer-160", "lite-transformer-200",
         "transformer-small"]
MASK = (1 << 64) - 1


def uniform(name, count):
    """Numbers of [0, 1) with 24 bits that follow from a name: FNV-1a, then SplitMix64."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) & MASK
    with np.errstate(over="ignore"):
        z = np.uint64(state) + np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float64) / (1 << 24)


def weight(name, shape):
    u = uniform(name, int(np.prod(shape)))
    if name.endswith("running_mean"):
        values = 0.2 * (u - 0.5)
    elif name.endswith("running_var"):
        values = 0.5 + u
    elif name.endswith("bias"):
        values = 0.4 * u
    elif len(shape) == 1:
        values = 0.75 + 0.5 * u
    else:
        values = (2 * u - 1) * np.sqrt(GAIN / np.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


GAIN = 4.5
# Names of ours where they differ.
OURS = {"model.encoder.embed_tokens.weight": "model.shared.weight", "model.decoder.embed_tokens.weight": "model.shared.weight",
        "lm_head.weight": "model.shared.weight", "cls_token": "cls_token.weight", "pos_embed": "pos_embed.weight"}


def fill(network):
    state = network.state_dict()
    for name, value in state.items():
        if value.is_floating_point() and name != "final_logits_bias":
            # A batch of one text in front of rows is none of ours.
            shape = tuple(value.shape[1:] if name in ("cls_token", "pos_embed") else value.shape)
            state[name] = weight(OURS.get(name, name), shape).reshape(value.shape)
    network.load_state_dict(state)


def image(side):
    values = 4 * uniform("image", 3 * side * side) - 2
    return torch.from_numpy(values.astype(np.float32).reshape(1, 3, side, side))


def flattened(outputs):
    return torch.cat([part.flatten() for part in zoo_parity.several(outputs)])


def main():
    torch.set_num_threads(1)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "zoo_outputs.json")
    known = json.load(open(path)) if NAMES else {}
    rows = {}
    for name in IMAGES + TEXTS:
        if NAMES and name not in NAMES:
            rows[name] = known[name]
            continue
        network, run = zoo_parity.network(name)
        if name.startswith("lite"):
            # A channel's taps as the formula gives them.
            network = zoo_parity.zoo_torch.LiteTransformer(**zoo_parity.TEXT[name][1], own=True)
            run = zoo_parity.Masked(network)
        fill(network)
        run.eval()
        sides = {**dict.fromkeys(TEXTS, 0), "deit_tiny": 224}
        side = 800 if name.startswith("squeezenas") else sides.get(name, 96)
        if name in TEXTS:
            most = min(zoo_parity.TEXT[name][1].get("vocabulary", 30000), 30000)
            ids, target = (torch.from_numpy((uniform(key, 24) * most).astype(np.int64))[None] for key in ("ids", "target"))
            types = (torch.arange(24) > 9).long()[None]
            inputs = (ids, types, (torch.arange(24) < 17).long()[None])
            if zoo_parity.TEXT[name][0] == "Marian":
                inputs += (target,)
            other = (ids.flip(1), *inputs[1:])
        else:
            inputs, other = (image(side),), (image(side).flip(3),)
        with torch.inference_mode():
            flat, moved = flattened(run(*inputs)), flattened(run(*other))
            exact = flattened(run.double()(*[x.double() if x.is_floating_point() else x for x in inputs]))
        largest = flat.abs().max().item()
        step = max(flat.numel() // COUNT, 1)
        sample = [float(np.float32(v)) for v in flat[::step][:COUNT].tolist()]
        rows[name] = {"side": side, "size": flat.numel(), "largest": largest, "out": sample}
        own, change = (flat - exact).abs().max().item() / largest, (flat - moved).abs().max().item() / largest
        print("%-30s largest %9.3g, PyTorch's own error %.1e, another input changes it by %.3f" % (name, largest, own, change), flush=True)
        assert own < 1e-5 and change > 0.01 and np.isfinite(largest), name
    with open(path, "w") as to:
        json.dump(rows, to, indent=0)
        to.write("\n")


if __name__ == "__main__":
    main()
