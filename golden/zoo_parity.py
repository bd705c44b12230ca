"""Every network of the zoo against PyTorch: random weights, the same input, outputs compared.

    python golden/zoo_parity.py target/release/squeeze [NAME ..] [--squeezenas FOLDER [--photo FILE]] [--precision int8] [--threads 2]

needs torch, torchvision, timm, transformers and safetensors. For each name of `squeeze list models` (or those given) it builds the
PyTorch network from a fixed seed; moves norms away from what they start as (to where an activation is seldom zero:
else a hundred random layers turn the last bit of PyTorch's own sums into a tenth of the answer) and sets their
statistics by a pass over random images, then moves those as well; saves the weights; runs `squeeze import` and `squeeze worker`; and prints the
largest difference as a share of the largest output, which must be below 1e-4. With FOLDER, which holds published
SqueezeNAS weights (lat_small.pth ..), these are read by both sides as well; with a photo of a street they look at
that, and 99.9 % of its pixels must have the same class. With a precision other than f32 it is the
cosine of the two answers (their means taken off) that must be above 0.9.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from torch import nn

import zoo_torch

LIMIT = 1e-4

LARGE = dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)
ROBERTA = dict(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5)


def sized(layers, width, heads, inner=None):
    return dict(hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=inner or 4 * width)


def albert(layers, width, heads):
    return dict(hidden_act="gelu_new", **sized(layers, width, heads))


def marian(layers, width, heads, vocabulary, activation):
    sides = {"%s_%s" % (side, key): value for side in ("encoder", "decoder")
             for key, value in [("layers", layers), ("attention_heads", heads), ("ffn_dim", 4 * width)]}
    return dict(d_model=width, vocab_size=vocabulary, max_position_embeddings=512, scale_embedding=True, pad_token_id=vocabulary - 1,
                decoder_start_token_id=vocabulary - 1, activation_function=activation, **sides)


# Family in transformers, and what its configuration says beside the defaults.
TEXT = {
    "bert-large": ("Bert", LARGE),
    "bert-base": ("Bert", {}),
    "bert-medium": ("Bert", sized(8, 512, 8)),
    "bert-small": ("Bert", sized(4, 512, 8)),
    "bert-mini": ("Bert", sized(4, 256, 4)),
    "bert-tiny": ("Bert", sized(2, 128, 2)),
    "minilm-l12-h384": ("Bert", sized(12, 384, 12)),
    "minilm-l6-h384": ("Bert", sized(6, 384, 12)),
    "tinybert-l6-h768": ("Bert", sized(6, 768, 12)),
    "tinybert-l4-h312": ("Bert", sized(4, 312, 12, 1200)),
    "roberta-large": ("Roberta", {**ROBERTA, **LARGE}),
    "roberta-base": ("Roberta", ROBERTA),
    "distilroberta": ("Roberta", {**ROBERTA, "num_hidden_layers": 6}),
    "electra-large": ("Electra", dict(embedding_size=1024, **LARGE)),
    "electra-base": ("Electra", dict(embedding_size=768, **sized(12, 768, 12))),
    "electra-base-generator": ("Electra", dict(embedding_size=768)),
    "electra-small": ("Electra", dict(embedding_size=128)),
    "distilbert": ("DistilBert", {}),
    "squeezebert": ("SqueezeBert", dict(embedding_size=768)),
    "albert-base": ("Albert", albert(12, 768, 12)),
    "albert-large": ("Albert", albert(24, 1024, 16)),
    "albert-xlarge": ("Albert", albert(24, 2048, 16)),
    "albert-xxlarge": ("Albert", albert(12, 4096, 64)),
    "mobilebert": ("MobileBert", dict(classifier_activation=False)),
    "lite-transformer-160": ("Lite", dict(width=160, vocabulary=10000, gated=False)),
    "lite-transformer-320": ("Lite", dict(width=320, vocabulary=10000, gated=False)),
    "lite-transformer-200": ("Lite", dict(width=200, vocabulary=40000, gated=True)),
    "gpt2": ("GPT2", {}),
    "distilgpt2": ("GPT2", dict(n_layer=6)),
    "transformer-base": ("Marian", marian(6, 512, 8, 37000, "relu")),
    "transformer-small": ("Marian", marian(2, 256, 4, 37000, "relu")),
    "opus-mt": ("Marian", marian(6, 512, 8, 58101, "swish")),
}
# What the model of a family is called where it classifies no texts.
HEADS = {"GPT2": "LMHeadModel", "Marian": "MTModel"}

arguments = argparse.ArgumentParser()
arguments.add_argument("squeeze")
arguments.add_argument("names", nargs="*")
arguments.add_argument("--squeezenas")
arguments.add_argument("--photo")
arguments.add_argument("--precision", default="f32")
arguments.add_argument("--threads", default="1")


class Out(nn.Module):
    """The main output of torchvision's segmentation networks."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x)["out"]


class Heads(nn.Module):
    """The raw outputs of torchvision's detectors: scores, then offsets."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        found = self.network.head(list(self.network.backbone(x).values()))
        return found["cls_logits"], found["bbox_regression"]


class Logits(nn.Module):
    """The scores of a text network; padding is behind the text."""

    def __init__(self, network, types):
        super().__init__()
        self.network, self.types = network, types

    def forward(self, ids, types, mask, target=None):
        more = {"token_type_ids": types} if self.types else {}
        if target is not None:
            more["decoder_input_ids"] = target
        return self.network(input_ids=ids, attention_mask=mask, **more).logits


class Masked(nn.Module):
    """A network of ours that takes no types."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, ids, types, mask):
        return self.network(ids, mask)


def network(name):
    """The PyTorch network of a name, and what gives its output."""
    import torchvision

    if name in TEXT:
        os.environ["HF_HUB_OFFLINE"] = "1"
        import transformers

        family, more = TEXT[name]
        if family == "Lite":
            found = zoo_torch.LiteTransformer(**more)
            return found, Masked(found)
        config = getattr(transformers, family + "Config")(num_labels=2, **more)
        found = getattr(transformers, family + HEADS.get(family, "ForSequenceClassification"))(config)
        return found, Logits(found, family not in ("Roberta", "DistilBert", *HEADS))

    if name.startswith("squeezenas_"):
        found = zoo_torch.squeezenas(name.removeprefix("squeezenas_"))
        return found, found
    own = {"unet_small": lambda: zoo_torch.UNet(21, 16), "deeplabv3plus_mobilenet": zoo_torch.DeepLabPlus,
           "deeplabv3plus_xception65": zoo_torch.DeepLabXception}
    if name in own:
        found = own[name]()
        return found, found
    timm_names = {"mobilenet_v1": "mobilenetv1_100", "mobilenet_v4_conv_small": "mobilenetv4_conv_small",
                  "xception65": "xception65", "deit_tiny": "deit_tiny_patch16_224", "deit_small": "deit_small_patch16_224"}
    if name in timm_names:
        import timm

        found = timm.create_model(timm_names[name])
        return found, found
    if name.startswith(("fcn_", "deeplabv3_", "lraspp_")):
        make = getattr(torchvision.models.segmentation, name)
        aux = {} if name.startswith("lraspp_") else {"aux_loss": True}
        found = make(weights=None, weights_backbone=None, num_classes=21, **aux)
        return found, Out(found)
    if name.startswith("ssdlite"):
        found = getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None)
        return found, Heads(found)
    found = getattr(torchvision.models, name.removeprefix("fix"))(weights=None)
    return found, found


def randomize_text(run):
    """Norms, biases and tables that are not what they start as, and weights large enough that every layer counts."""
    with torch.no_grad():
        for name, value in run.named_parameters():
            scale = name.endswith("weight") and value.ndim == 1
            value += 0.2 * torch.randn_like(value) if scale else 0.03 * torch.randn_like(value)
    return run.eval()


def text(name):
    """Indices, types and mask of a text that is shorter than its place; MobileBERT's last token would see padding there."""
    vocabulary = 10000 if name.startswith("lite") else 30000
    ids = torch.randint(5, vocabulary, (1, 128))
    types = (torch.arange(128) > 50).long()[None]
    mask = (torch.arange(128) < (128 if name == "mobilebert" else 100)).long()[None]
    target = {"target": torch.randint(5, vocabulary, (1, 128))} if TEXT[name][0] == "Marian" else {}
    return {"ids": ids, "types": types, "mask": mask, **target}


def randomize(run, size):
    """Norms that are not what they start as, with statistics of what really passes, moved a little."""
    if any(isinstance(part, nn.LayerNorm) for part in run.modules()):
        return randomize_text(run)
    norms = [part for part in run.modules() if isinstance(part, nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.uniform_(0.5, 1.0)
            norm.bias.normal_(0.5, 0.3)
            norm.momentum = None
        if norms:
            run.train()
            for part in run.modules():
                if isinstance(part, nn.Dropout):
                    part.eval()
            run(torch.randn(2, 3, *size))
        for norm in norms:
            norm.running_mean += 0.2 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
            norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.7, 1.4)
    return run.eval()


def input_shape(squeeze, name):
    lines = subprocess.run([squeeze, "show", name, "--json"], check=True, capture_output=True, text=True).stdout
    return json.loads(lines.splitlines()[0])["output"]


def write_inputs(folder, inputs):
    """Inputs where `squeeze worker` looks for them."""
    rows = []
    for key, value in inputs.items():
        value.numpy().tofile(os.path.join(folder, key + ".bin"))
        rows.append({"name": key, "shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")})
    with open(os.path.join(folder, "meta.json"), "w") as to:
        json.dump({"inputs": rows}, to)


def worker(squeeze, folder, inputs, count, *more):
    """So many outputs of `squeeze worker` for the model in a folder; threads and precision are said behind."""
    write_inputs(folder, inputs)
    outs = [os.path.join(folder, "out%d.npy" % at) for at in range(count)]
    lines = "".join("output %d %s\n" % pair for pair in enumerate(outs)) + "quit\n"
    threads, *precision = more
    call = [squeeze, "worker", folder, threads, *(part for name in precision for part in ("--precision", name))]
    done = subprocess.run(call, input=lines, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return [np.load(out) for out in outs]


def ours(given, folder, file, name, inputs, count):
    """So many outputs of `squeeze` with the weights of `file`."""
    model = os.path.join(folder, "model.squeeze")
    command = [given.squeeze, "import", file, "--model", name, "-o", model]
    subprocess.run(command, check=True, capture_output=True)
    return worker(given.squeeze, folder, inputs, count, given.threads, given.precision)


def photo(path, shape):
    """A photo as torchvision shows it to networks, of this shape."""
    from PIL import Image

    image = Image.open(path).convert("RGB").resize((shape[3], shape[2]), Image.BILINEAR)
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(row).view(1, 3, 1, 1) for row in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return (pixels - mean) / std


def several(outputs):
    """The outputs of a network, of which most give one."""
    return outputs if isinstance(outputs, tuple) else (outputs,)


def prepared(given, name, folder, weights=None):
    """The PyTorch network with its weights, random ones or those of a file, its inputs, and the file that holds the weights."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    shape = input_shape(given.squeeze, name)
    found, run = network(name)
    inputs = text(name) if name in TEXT else {"x": torch.randn(shape)}
    if weights:
        found.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        run.eval()
        return run, inputs, weights
    file = os.path.join(folder, "weights.safetensors")
    if name in TEXT:
        randomize_text(run)
    else:
        randomize(run, shape[2:] if name.startswith(("squeezenas", "ssdlite")) else [224, 224])
    save_file({key: value.contiguous().clone() for key, value in found.state_dict().items()}, file)
    return run, inputs, file


def counts(name, mask):
    """What counts of an answer: of a network that says something of each token, not what it says of padding."""
    if TEXT.get(name, [""])[0] == "GPT2":
        return lambda answer: answer[np.asarray(mask) == 1]
    return lambda answer: answer


def check(given, name, weights=None):
    """Whether both answers agree."""
    with tempfile.TemporaryDirectory() as folder:
        run, inputs, file = prepared(given, name, folder, weights)
        shape = input_shape(given.squeeze, name)
        if weights and given.photo:
            inputs = {"x": photo(given.photo, shape)}
        with torch.inference_mode():
            wanted = [part.numpy() for part in several(run(*inputs.values()))]
        answers = ours(given, folder, file, name, inputs, len(wanted))
    errors, spreads, cosines = [], [], []
    count = counts(name, inputs.get("mask"))
    for answer, wanted in zip(map(count, answers), map(count, wanted)):
        assert answer.shape == wanted.shape, (answer.shape, wanted.shape)
        largest = np.abs(wanted).max()
        errors.append(np.abs(answer - wanted).max() / largest)
        spreads.append(wanted.std() / largest)
        cosines.append(np.corrcoef(answer.flatten(), wanted.flatten())[0, 1])
    error, spread, cosine = max(errors), min(spreads), min(cosines)
    good = bool(spread > 1e-3 and (error < LIMIT if given.precision == "f32" else cosine > 0.9))
    figure = "" if given.precision == "f32" else ", cosine %.4f" % cosine
    if weights and given.photo:
        same = (answers[0].argmax(1) == wanted.argmax(1)).mean()
        good &= bool(same >= 0.999)
        figure += ", %.4f %% of the pixels alike" % (100 * same)
    what = "published weights" if weights else "random weights"
    print("%-30s %-18s %-20s error %.1e of the largest output, deviation %.2f of it%s%s"
          % (name, what, "x".join(map(str, shape)), error, spread, figure, "" if good else "  FAILED"), flush=True)
    return good


def main():
    given = arguments.parse_args()
    torch.set_num_threads(1)
    listed = subprocess.run([given.squeeze, "list", "models", "--json"], check=True, capture_output=True, text=True)
    rows = map(json.loads, listed.stdout.splitlines())
    names = given.names or [row["name"] for row in rows]
    good = True
    for name in names:
        good &= check(given, name)
        file = os.path.join(given.squeezenas or "", name.removeprefix("squeezenas_") + ".pth")
        if given.squeezenas and name.startswith("squeezenas_") and os.path.exists(file):
            good &= check(given, name, file)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
