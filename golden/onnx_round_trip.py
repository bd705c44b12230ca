"""Every network of the zoo through ONNX: written by us, run by ONNX Runtime, read by us again.

    python golden/onnx_round_trip.py target/release/squeeze [NAME ..] [--folder DIR]

needs what `zoo_parity.py` needs, and onnx and onnxruntime. For each name of `squeeze list models` (or those given) the PyTorch
network of `zoo_parity.py` gives random weights, with the statistics of its norms, and an input. `squeeze import` and `squeeze export
--to onnx` make a file of them, which the checker of onnx must pass. ONNX Runtime runs it, our worker runs the model file, then the
ONNX file; the largest differences as a share of the largest output must be below 1e-4. The ONNX file must cost what the network
costs: parameters and multiply-adds.
"""
import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch

import zoo_parity

LIMIT = 1e-4

arguments = argparse.ArgumentParser()
arguments.add_argument("squeeze")
arguments.add_argument("names", nargs="*")
arguments.add_argument("--folder", help="where large files go")


def runtime(file, inputs):
    """ONNX Runtime's answers."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return session.run(None, {given.name: inputs[given.name] for given in session.get_inputs()})


def cost(squeeze, model, *more):
    done = subprocess.run([squeeze, "cost", model, "--json", *more], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    row = json.loads(done.stdout)
    return row["params"], row["macs"]


def error(answers, wanted):
    """The largest difference as a share of the largest number of its output."""
    assert [part.shape for part in answers] == [part.shape for part in wanted]
    return max(np.abs(answer - part).max() / np.abs(part).max() for answer, part in zip(answers, wanted))


def check(given, name):
    """Whether all answers agree."""
    import onnx

    squeeze = given.squeeze
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        _, inputs, file = zoo_parity.prepared(given, name, folder)
        gc.collect()
        model, other = os.path.join(folder, "model.squeeze"), os.path.join(folder, "model.onnx")
        subprocess.run([squeeze, "import", file, "--model", name, "-o", model], check=True, capture_output=True)
        os.remove(file)
        subprocess.run([squeeze, "export", model, "--to", "onnx", "-o", other], check=True, capture_output=True)
        onnx.checker.check_model(other, full_check=True)
        is_text = name in zoo_parity.TEXT
        names = {"ids": "input_ids", "types": "token_type_ids", "mask": "attention_mask", "target": "decoder_input_ids"} if is_text else {"x": "image"}
        inputs = {names[key]: value for key, value in inputs.items()}
        # What is said of padding is nobody's concern.
        counts = zoo_parity.counts(name, inputs.get("attention_mask"))
        wanted = [counts(part) for part in runtime(other, {key: value.numpy() for key, value in inputs.items()})]
        answers = [counts(part) for part in zoo_parity.worker(squeeze, folder, inputs, len(wanted), "1")]
        costs = cost(squeeze, model)
        os.remove(model)
        errors = [error(answers, wanted)]
        good = bool(errors[0] < LIMIT and all(part.std() > 1e-3 * np.abs(part).max() for part in wanted))
        message = ""
        try:
            length = ["--seq", str(inputs["input_ids"].shape[1])] if is_text else []
            again = cost(squeeze, other, *length)
            if again != costs:
                message = ", read again it costs %s instead of %s" % (again, costs)
            again = [counts(part) for part in zoo_parity.worker(squeeze, folder, inputs, len(wanted), "1")]
            errors.append(error(again, wanted))
            good &= bool(errors[1] < LIMIT)
        except RuntimeError as refused:
            message = ", read again: %s" % refused
        good &= not message
    print("%-30s %s of the largest output%s%s" % (name, " and read again ".join("%.1e" % e for e in errors), message,
                                                  "" if good else "  FAILED"), flush=True)
    return good


def main():
    given = arguments.parse_args()
    torch.set_num_threads(1)
    listed = subprocess.run([given.squeeze, "list", "models", "--json"], check=True, capture_output=True, text=True)
    names = given.names or [json.loads(row)["name"] for row in listed.stdout.splitlines()]
    good = True
    for name in names:
        try:
            good &= check(given, name)
        except Exception as error:  # The next network is checked all the same.
            print("%-30s FAILED: %s" % (name, str(error).splitlines()[0] if str(error) else type(error)), flush=True)
            good = False
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
