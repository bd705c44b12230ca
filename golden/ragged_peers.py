"""Batches of real lengths for the peers' benchmark: the padded batch as ONNX, with its mask, and OpenVINO's int8 of it.

    python golden/ragged_peers.py PEERS nlp.tar.xz [--models squeezebert,bert-base] [--batches 8,32] [--int8]

PEERS is the folder with zoo.py and bench.py. Each batch holds the first test texts of BANKING77 in an order drawn from a seed, each as
long as its words and three tokens more, padded to the longest of them: PEERS/models/NAME-bN-sLONGEST. Then

    python bench.py --models NAME-bN-sLONGEST --engines ort,ov,ov-int8 --threads 1,2 \\
        --engine-cmd 'squeeze=squeeze worker {dir} {threads}'

times all in one interleaved run; texts a second are N over the medians.
"""

import argparse
import csv
import io
import json
import os
import sys
import tarfile

import numpy as np

arguments = argparse.ArgumentParser()
arguments.add_argument("peers")
arguments.add_argument("texts")
arguments.add_argument("--models", default="squeezebert,bert-base")
arguments.add_argument("--batches", default="8,32")
arguments.add_argument("--int8", action="store_true")
given = arguments.parse_args()
sys.path.insert(0, given.peers)
import zoo  # noqa: E402


def lengths(count):
    """Words and three tokens of so many texts."""
    with tarfile.open(given.texts) as archive:
        table = io.TextIOWrapper(archive.extractfile("nlp/banking77/test.csv"), encoding="utf-8")
        texts = [row["text"] for row in csv.DictReader(table)]
    order = np.random.default_rng(7).permutation(len(texts))[:count]
    return [len(texts[at].split()) + 3 for at in order]


def batch(own, seed):
    rng = np.random.default_rng(seed)
    shape = (len(own), max(own))
    mask = (np.arange(shape[1]) < np.array(own)[:, None]).astype(np.int64)
    ids = rng.integers(5, 30000, size=shape).astype(np.int64) * mask
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros(shape, np.int64)}


def export(base, count):
    import torch

    own = lengths(count)
    name = "%s-b%d-s%d" % (base, count, max(own))
    path = os.path.join(given.peers, "models", name)
    os.makedirs(path, exist_ok=True)
    zoo.TEXT[base][2]["attn_implementation"] = "eager"
    model = zoo.build("%s-s%d" % (base, max(own)))[0]
    inputs = batch(own, 1234)
    tensors = tuple(torch.from_numpy(value) for value in inputs.values())
    file = os.path.join(path, "model.onnx")
    with torch.no_grad():
        out = model(*tensors).numpy()
        torch.onnx.export(model, tensors, file, input_names=list(inputs), output_names=["out"],
                          dynamo=True, external_data=False, verbose=False)
    np.save(os.path.join(path, "expected.npy"), out)
    np.savez(os.path.join(path, "inputs.npz"), **inputs)
    rows = []
    for key, value in inputs.items():
        value.tofile(os.path.join(path, key + ".bin"))
        rows.append({"name": key, "shape": list(value.shape), "dtype": str(value.dtype)})
    meta = {"name": name, "inputs": rows, "output_shape": list(out.shape), "lengths": own, "gmac": 0.0, "params_streamed": 0}
    with open(os.path.join(path, "meta.json"), "w") as to:
        json.dump(meta, to, indent=1)
    if given.int8:
        import nncf
        import openvino as ov

        data = nncf.Dataset([batch(own, seed) for seed in range(4)])
        quantized = nncf.quantize(ov.Core().read_model(file), data, subset_size=4, model_type=nncf.ModelType.TRANSFORMER)
        ov.save_model(quantized, os.path.join(path, "model.ovint8.xml"), compress_to_fp16=False)
    print(name, "lengths", own, "mean %.1f of %d" % (np.mean(own), max(own)), flush=True)


for base in given.models.split(","):
    for count in given.batches.split(","):
        export(base, int(count))
