"""Writes the ONNX files of our own making that tests hold against ONNX Runtime, with its answers.

    python golden/onnx_export.py target/release/squeeze

needs onnx and onnxruntime. onnx_export_image.toml and onnx_export_text.toml are networks that have every operator among them. Each
is exported, gets other random weights, passes the checker of onnx and is run by ONNX Runtime on the inputs that the JSON file keeps.
"""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))


def answered(squeeze, name, inputs):
    file = os.path.join(HERE, "onnx_export_%s.onnx" % name)
    with tempfile.TemporaryDirectory() as folder:
        made = os.path.join(folder, "model.onnx")
        network = os.path.join(HERE, "onnx_export_%s.toml" % name)
        subprocess.run([squeeze, "export", network, "--to", "onnx", "-o", made], check=True, capture_output=True)
        model = onnx.load(made)
    numbers = np.random.default_rng(1)
    for tensor in model.graph.initializer:
        if "/" in tensor.name:  # A constant, no weight.
            continue
        shape = tuple(tensor.dims)
        scale = 1 / np.sqrt(max(np.prod(shape[1:]), 1)) if len(shape) > 1 else 0.3
        values = scale * numbers.standard_normal(shape)
        if len(shape) == 1 and tensor.name.endswith((".weight", ".running_var")):
            values = numbers.uniform(0.5, 1.5, shape)
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    outputs = session.run(None, inputs)
    facts = {key: value.flatten().tolist() for key, value in inputs.items()}
    names = [output.name for output in session.get_outputs()]
    facts |= {key: [float("%.7g" % v) for v in value.flatten()] for key, value in zip(names, outputs)}
    with open(os.path.join(HERE, "onnx_export_%s.json" % name), "w") as to:
        json.dump(facts, to)
    print(name, os.path.getsize(file), {key: value.shape for key, value in zip(names, outputs)})


numbers = np.random.default_rng(0)
image = numbers.standard_normal((2, 3, 11, 13)).round(2).astype(np.float32)
answered(sys.argv[1], "image", {"image": image})
text = {"input_ids": numbers.integers(0, 20, (2, 6)), "token_type_ids": numbers.integers(0, 2, (2, 6)),
        "attention_mask": np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])}
answered(sys.argv[1], "text", text)
