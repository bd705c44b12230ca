"""Published SqueezeNet 1.1 (ncnn's format, weights in half precision) against PyTorch, image by image.

    python golden/squeezenet_parity.py target/release/squeeze ../shared/data [--images 500]

needs torch, torchvision, safetensors and Pillow, and a folder with weights/squeezenet_v1.1.{param,bin} and imagenet-samples-256px.tar. The weights
get torchvision's names, red comes first; `squeeze import` reads them and `squeeze run` answers to each image (the square in the middle, 227
pixels wide), and so does torchvision's network in single precision. The file's own network has a border of zeros before its last layer, which
torchvision's has not. Exits with 1 when probabilities differ by more than 1e-4 or fewer than 99 %
of the images get the same class.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torchvision
from safetensors.torch import save_file

from photos import squares

HALF = 0x01306B47
# Blue, green, red in the file's order; Caffe's networks want bytes less these means.
MEANS = (104.0, 117.0, 123.0)


def weights(folder):
    """Layers of the file in its order, each a weight and a bias."""
    data = open(os.path.join(folder, "squeezenet_v1.1.bin"), "rb").read()
    at, layers = 0, []
    for line in open(os.path.join(folder, "squeezenet_v1.1.param")):
        words = line.split()
        if words[0] != "Convolution":
            continue
        fields = dict(word.split("=") for word in words if "=" in word)
        out, kernel, count = int(fields["0"]), int(fields["1"]), int(fields["6"])
        assert int.from_bytes(data[at:at + 4], "little") == HALF, words[1]
        weight = np.frombuffer(data, np.float16, count, at + 4).astype(np.float32)
        at += 4 + (2 * count + 3) // 4 * 4
        bias = np.frombuffer(data, np.float32, out, at)
        at += 4 * out
        layers.append((weight.reshape(out, -1, kernel, kernel), bias.copy()))
    assert at == len(data)
    return layers


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("squeeze")
    parser.add_argument("data")
    parser.add_argument("--images", type=int, default=500)
    args = parser.parse_args()
    layers = weights(os.path.join(args.data, "weights"))
    layers[0] = (layers[0][0][:, ::-1].copy(), layers[0][1])
    network = torchvision.models.squeezenet1_1().eval()
    slots = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(slots) == len(layers)
    for slot, (weight, bias) in zip(slots, layers):
        slot.weight.data, slot.bias.data = torch.from_numpy(weight), torch.from_numpy(bias)
    with tempfile.TemporaryDirectory() as folder:
        path = lambda name: os.path.join(folder, name)
        save_file(network.state_dict(), path("weights.safetensors"))
        open(path("labels.txt"), "w").write("".join(f"{at}\n" for at in range(1000)))
        mean = ",".join(str(mean / 255) for mean in reversed(MEANS))
        subprocess.run([args.squeeze, "import", path("weights.safetensors"), "--model", "squeezenet1_1", "--image", "227", "--labels", path("labels.txt"),
                        "--mean", mean, "--std", str(1 / 255), "-o", path("model.squeeze")], check=True, stdout=subprocess.DEVNULL)
        names, labels, theirs = [], [], []
        for image, label in squares(os.path.join(args.data, "imagenet-samples-256px.tar"), 227, args.images):
            names.append(path(f"{len(names)}.png"))
            image.save(names[-1])
            labels.append(label)
            x = torch.from_numpy(np.asarray(image).astype(np.float32)) - torch.tensor(MEANS[::-1])
            with torch.no_grad():
                theirs.append(network(x.permute(2, 0, 1)[None]).softmax(-1)[0].numpy())
        call = [args.squeeze, "run", path("model.squeeze"), "--json", "--image", *names]
        lines = subprocess.run(call, check=True, capture_output=True, text=True).stdout.splitlines()
        answers = [json.loads(line)["classes"] for line in lines]
        ours = np.asarray([[answer[str(at)] for at in range(1000)] for answer in answers], np.float32)
    theirs = np.stack(theirs)
    off, same = np.abs(ours - theirs).max(), 100 * (ours.argmax(-1) == theirs.argmax(-1)).mean()
    right = [100 * (out.argmax(-1) == labels).mean() for out in (ours, theirs)]
    print(f"squeezenet1_1: {len(labels)} images, probabilities off by at most {off:.1e}, {same:.2f} % get the same class, "
          f"right {right[0]:.2f} % (ours) and {right[1]:.2f} % (PyTorch)")
    sys.exit(not (off <= 1e-4 and same >= 99.0))


if __name__ == "__main__":
    main()
