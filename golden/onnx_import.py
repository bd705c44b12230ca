"""What PyTorch's exporters write, read by us: for networks, exporters and operator sets, outputs against ONNX Runtime.

    python golden/onnx_import.py target/release/squeeze [NAME ..] [--keep FOLDER] [--opsets script-11,script-17,dynamo-20]

needs torch, torchvision, timm, transformers, onnx and onnxruntime. Networks of images are torchvision's at full width, with statistics of
norms as `zoo_parity.py` sets them; networks of texts are transformers' with two layers, 32 channels and a text that is padded; those of
patches (ViT, DeiT) have two layers and 32 channels as torchvision, timm and transformers write them. Each is exported by the older
exporter (`script-11` to `script-20`; `open-17` leaves batch and length open) and the newer (`dynamo-18` to `dynamo-21`), run in ONNX
Runtime and in `squeeze worker` on the same input, and the largest difference must be below 1e-4 of the largest output. With FOLDER the
files stay there and are not exported again.
"""
import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
import torch

import zoo_parity

# Else the older exporter meets torch's own attention, which ONNX has no operator for.
torch.backends.mha.set_fastpath_enabled(False)
LIMIT = 1e-4
OPSETS = "script-11,script-13,script-17,script-20,open-17,dynamo-18,dynamo-20,dynamo-21"
SMALL = dict(vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
             max_position_embeddings=40, num_labels=3)
GPT2 = dict(n_embd=32, n_layer=2, n_head=4, n_positions=40)
MARIAN = dict(d_model=32, scale_embedding=True, pad_token_id=59, decoder_start_token_id=59, encoder_layers=2, decoder_layers=2,
              encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64)
# Family in transformers, its head, and what its configuration says beside SMALL.
TEXTS = {
    "bert": ("Bert", "SequenceClassification", {}),
    "bert-tokens": ("Bert", "TokenClassification", {}),
    "bert-answers": ("Bert", "QuestionAnswering", dict(num_labels=2)),
    "bert-encoder": ("Bert", "", {}),
    "bert-mean": ("Bert", "mean", {}),
    "bert-eager": ("Bert", "SequenceClassification", dict(attn_implementation="eager")),
    "roberta": ("Roberta", "SequenceClassification", {}),
    "albert": ("Albert", "SequenceClassification", dict(embedding_size=16, hidden_act="gelu_new")),
    "electra": ("Electra", "SequenceClassification", dict(embedding_size=16)),
    "distilbert": ("DistilBert", "SequenceClassification", {}),
    "squeezebert": ("SqueezeBert", "SequenceClassification", dict(embedding_size=32)),
    "mobilebert": ("MobileBert", "SequenceClassification", dict(embedding_size=16, intra_bottleneck_size=32)),
    "gpt2": ("GPT2", "LMHeadModel", GPT2),
    "gpt2-eager": ("GPT2", "LMHeadModel", dict(attn_implementation="eager", **GPT2)),
    "marian": ("Marian", "MTModel", MARIAN),
}
PATCHES = dict(image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, num_labels=3)
# Networks of patches: family in transformers, its head, and what its configuration says beside PATCHES.
VISION = {
    "vit": ("ViT", "ForImageClassification", {}),
    "vit-eager": ("ViT", "ForImageClassification", dict(attn_implementation="eager")),
    "vit-encoder": ("ViT", "Model", {}),
    "deit": ("DeiT", "ForImageClassification", {}),
    "deit-distilled": ("DeiT", "ForImageClassificationWithTeacher", {}),
}
# The same as others write them.
OTHERS = ["vit-torchvision", "vit-timm", "deit-distilled-timm"]
IMAGES = ("alexnet vgg11 vgg11_bn squeezenet1_0 squeezenet1_1 resnet18 resnet50 resnext50_32x4d mobilenet_v2 mobilenet_v3_small "
          "mobilenet_v3_large shufflenet_v2_x0_5 mnasnet0_5 efficientnet_b0 efficientnet_v2_s regnet_y_400mf densenet121 "
          "googlenet vit_b_16 fcn_resnet50 deeplabv3_resnet50 deeplabv3_mobilenet_v3_large lraspp_mobilenet_v3_large").split()

arguments = argparse.ArgumentParser()
arguments.add_argument("squeeze")
arguments.add_argument("names", nargs="*")
arguments.add_argument("--keep")
arguments.add_argument("--opsets", default=OPSETS)


class Text(torch.nn.Module):
    """A network of texts that takes positions in our order and gives its first output."""

    def __init__(self, network, types):
        super().__init__()
        self.network, self.types = network, types

    def forward(self, input_ids, attention_mask, token_type_ids=None):
        more = {"token_type_ids": token_type_ids} if self.types else {}
        return self.network(input_ids=input_ids, attention_mask=attention_mask, **more)[0]


class Language(Text):
    """A network that scores the token that follows, perhaps of a second text."""

    def forward(self, input_ids, attention_mask, decoder_input_ids=None):
        more = {} if decoder_input_ids is None else {"decoder_input_ids": decoder_input_ids}
        return self.network(input_ids=input_ids, attention_mask=attention_mask, use_cache=False, **more).logits


class Mean(Text):
    """The mean of the tokens before the padding, as sentence-transformers takes it."""

    def forward(self, input_ids, attention_mask, token_type_ids=None):
        tokens = super().forward(input_ids, attention_mask, token_type_ids)
        mask = attention_mask.unsqueeze(-1).expand(tokens.size()).float()
        return (tokens * mask).sum(1) / mask.sum(1).clamp(min=1e-9)


class Patches(torch.nn.Module):
    """A network of patches of transformers that gives its first output."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        return self.network(pixel_values=image)[0]


def patches(name, version):
    """A small network of patches."""
    if name == "vit-torchvision":
        from torchvision.models import VisionTransformer

        return VisionTransformer(32, 8, 2, 4, 32, 64, num_classes=3)
    if name.endswith("-timm"):
        import timm

        timm.layers.set_fused_attn(version >= 14)
        distilled = name == "deit-distilled-timm"
        kind = timm.models.deit.VisionTransformerDistilled if distilled else timm.models.VisionTransformer
        return kind(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=4, mlp_ratio=2, num_classes=3)
    import transformers

    family, head, more = VISION[name]
    eager = {"attn_implementation": "eager"} if version < 14 else {}
    config = getattr(transformers, family + "Config")(**{**PATCHES, **eager, **more})
    return Patches(getattr(transformers, family + head)(config))


def built(name, version):
    """The PyTorch network of a name with random numbers, in a form that an operator set has, and its inputs by name."""
    torch.manual_seed(0)
    if name in TEXTS:
        import transformers

        family, head, more = TEXTS[name]
        config = getattr(transformers, family + "Config")(**{**SMALL, **({'attn_implementation': 'eager'} if version < 14 else {}), **more})
        mean, scores = head == "mean", family in zoo_parity.HEADS
        network = getattr(transformers, family + (head if scores else "For" + head if head and not mean else "Model"))(config)
        types = family not in ("Roberta", "DistilBert", *zoo_parity.HEADS)
        run = zoo_parity.randomize_text((Language if scores else Mean if mean else Text)(network, types))
        seen = 24 if family == "MobileBert" else 17
        ids = torch.randint(5, 60, (1, 24))
        ids[:, seen:] = config.pad_token_id or 0
        inputs = {"input_ids": ids, "attention_mask": (torch.arange(24) < seen).long()[None]}
        if types:
            inputs["token_type_ids"] = (torch.arange(24) > 8).long()[None] * (torch.arange(24) < seen)
        if family == "Marian":
            inputs["decoder_input_ids"] = torch.randint(5, 59, (1, 24))
        return run, inputs
    if name in VISION or name in OTHERS:
        return zoo_parity.randomize_text(patches(name, version)), {"image": torch.randn(1, 3, 32, 32)}
    run = zoo_parity.randomize(zoo_parity.network(name)[1], [224, 224])
    return run, {"image": torch.randn(1, 3, 224, 224)}


def export(name, opset, folder):
    """The network's ONNX file in a folder that `squeeze worker` reads."""
    exporter, version = opset.split("-")
    run, inputs = built(name, int(version))
    os.makedirs(folder, exist_ok=True)
    file = os.path.join(folder, "model.onnx")
    options = dict(opset_version=int(version), input_names=list(inputs), output_names=["out"])
    options |= dict(dynamo=True, verbose=False) if exporter == "dynamo" else dict(dynamo=False)
    if exporter == "open":
        options["dynamic_axes"] = {key: {0: "batch", 1: "length"} if value.ndim == 2 else {0: "batch"} for key, value in inputs.items()}
    with torch.inference_mode(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(run, tuple(inputs.values()), file, **options)
    zoo_parity.write_inputs(folder, inputs)


def runtime(file, inputs):
    """ONNX Runtime's answer."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    known = {given.name for given in session.get_inputs()}
    return session.run(None, {key: value for key, value in inputs.items() if key in known})[0]


def given_inputs(folder):
    with open(os.path.join(folder, "meta.json")) as text:
        rows = json.load(text)["inputs"]
    read = lambda row: np.fromfile(os.path.join(folder, row["name"] + ".bin"), row["dtype"]).reshape(row["shape"])
    return {row["name"]: read(row) for row in rows}


def worker(squeeze, folder):
    """Our answer, or what we say instead."""
    out = os.path.join(folder, "out.npy")
    lines = "out %s\nquit\n" % out
    done = subprocess.run([squeeze, "worker", folder, "1"], input=lines, capture_output=True, text=True)
    return (np.load(out), "") if done.returncode == 0 else (None, done.stderr.strip())


def check(given, name, opset, folder):
    if not os.path.exists(os.path.join(folder, "meta.json")):
        try:
            export(name, opset, folder)
        except Exception as error:
            print("%-30s %-10s is not exported: %s" % (name, opset, str(error).strip().splitlines()[0][:120]), flush=True)
            return True
    wanted = runtime(os.path.join(folder, "model.onnx"), given_inputs(folder))
    answer, message = worker(given.squeeze, folder)
    if answer is None:
        print("%-30s %-10s FAILED: %s" % (name, opset, message), flush=True)
        return False
    if wanted.shape != answer.shape:
        print("%-30s %-10s FAILED: %s instead of %s" % (name, opset, answer.shape, wanted.shape), flush=True)
        return False
    seen = int(given_inputs(folder)["attention_mask"].sum()) if name in TEXTS else None
    if seen and wanted.ndim > 1 and wanted.shape[1] == 24 and name != "marian":  # What padded tokens become is nobody's concern.
        wanted, answer = wanted[:, :seen], answer[:, :seen]
    error = np.abs(answer - wanted).max() / np.abs(wanted).max()
    print("%-30s %-10s error %.1e of the largest output%s" % (name, opset, error, "" if error < LIMIT else "  FAILED"), flush=True)
    return bool(error < LIMIT)


def main():
    given = arguments.parse_args()
    torch.set_num_threads(1)
    good = True
    for name in given.names or [*TEXTS, *VISION, *OTHERS, *IMAGES]:
        for opset in given.opsets.split(","):
            with tempfile.TemporaryDirectory() as folder:
                kept = os.path.join(given.keep, name, opset) if given.keep else folder
                good &= check(given, name, opset, kept)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
