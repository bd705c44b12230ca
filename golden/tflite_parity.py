"""Published TFLite files against LiteRT: the same images, outputs compared.

    python golden/tflite_parity.py target/release/squeeze ../shared/data [FILE ..] [--images 500]

needs ai_edge_litert, flatbuffers, numpy and Pillow, and a folder with weights/*.tflite, imagenet-samples-256px.tar and cifar10/. Every
file is read by `squeeze import` and runs on the ImageNet sample images (the square in the middle, made smaller by Pillow), ResNet-8 on
CIFAR-10 images, DeepLabV3 on the bird picture and the first sample images. Three answers are compared: LiteRT's to the file; LiteRT's to
its twin, in which all bytes are the numbers they stand for; ours in single precision and, where the file has bytes, in bytes.
Exits with 1 when ours in single precision is not the twin's: outputs within 1e-4 of the largest, and the same class for 99 % of the images.
"""
import argparse
import copy
import glob
import json
import os
import subprocess
import sys
import tempfile

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from photos import squares

# What float files want, which they do not say: mean and deviation of pixels between 0 and 1.
FLOAT = {"vww_96_float": (0.0, 1.0), "pretrainedResnet": (0.0, 1.0 / 255.0)}
INTEGERS = {schema.TensorType.UINT8: np.uint8, schema.TensorType.INT8: np.int8, schema.TensorType.INT32: np.int32}


def twin(path):
    """The file in numbers: constants with a scale become what they stand for, and so does everything between."""
    model = schema.ModelT.InitFromPackedBuf(open(path, "rb").read(), 0)
    graph = model.subgraphs[0]
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    whole = schema.OperatorCodeT()
    whole.builtinCode = whole.deprecatedBuiltinCode = schema.BuiltinOperator.RESHAPE
    whole.version = 1
    model.operatorCodes.append(whole)
    codes.append(whole.builtinCode)
    for tensor in graph.tensors:
        q, data = tensor.quantization, model.buffers[tensor.buffer].data
        if q is None or q.scale is None or len(q.scale) == 0:
            continue
        if data is not None and len(data):
            values = np.frombuffer(data.tobytes(), INTEGERS[tensor.type]).reshape(tensor.shape).astype(np.float64)
            shape = [1] * values.ndim
            if len(q.scale) > 1:
                shape[q.quantizedDimension] = -1
            values = (values - np.asarray(q.zeroPoint).reshape(shape)) * np.asarray(q.scale, np.float64).reshape(shape)
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)
            model.buffers.append(buffer)
            tensor.buffer = len(model.buffers) - 1
        tensor.type, tensor.quantization = schema.TensorType.FLOAT32, None
    for operator in graph.operators:
        # Numbers need not be made of numbers.
        if codes[operator.opcodeIndex] == schema.BuiltinOperator.QUANTIZE:
            operator.opcodeIndex = len(model.operatorCodes) - 1
            operator.inputs = [operator.inputs[0], fixed(model, graph.tensors[operator.outputs[0]].shape)]
            operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
            operator.builtinOptions = schema.ReshapeOptionsT()
    last = graph.operators[-1]
    if codes[last.opcodeIndex] == schema.BuiltinOperator.ARG_MAX:
        graph.operators.pop()
        graph.outputs = [last.inputs[0]]
    model.signatureDefs, model.metadata = None, None
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def fixed(model, shape):
    buffer, tensor = schema.BufferT(), schema.TensorT()
    buffer.data = np.frombuffer(np.asarray(shape, np.int32).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.shape, tensor.type, tensor.buffer, tensor.name = [len(shape)], schema.TensorType.INT32, len(model.buffers) - 1, b"shape"
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1


def answers(interpreter, images, to_input):
    interpreter.allocate_tensors()
    entry, end = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    out = []
    for image in images:
        interpreter.set_tensor(entry["index"], to_input(image)[None])
        interpreter.invoke()
        answer = interpreter.get_tensor(end["index"])[0]
        scale, zero = end["quantization"]
        out.append(scale * (answer.astype(np.float32) - zero) if scale else answer)
    return np.stack(out)


def cifar(folder, count):
    labels = [line.split() for line in open(os.path.join(folder, "labels.txt"))]
    for sheet, *classes in labels[27:]:
        rows = np.asarray(Image.open(os.path.join(folder, f"cifar10_{sheet}.png")))
        for row, label in zip(rows, classes):
            if count == 0:
                return
            count -= 1
            yield row.reshape(32, 32, 3), int(label)


def classified(squeeze, model, images, folder, precision):
    names = []
    for at, image in enumerate(images):
        names.append(os.path.join(folder, f"{at}.png"))
        Image.fromarray(image).save(names[-1])
    out = []
    for start in range(0, len(names), 100):
        call = [squeeze, "run", model, "--json", "--precision", precision, "--image", *names[start:start + 100]]
        lines = subprocess.run(call, check=True, capture_output=True, text=True).stdout.splitlines()
        for line in lines:
            classes = json.loads(line)["classes"]
            out.append([classes[str(at)] for at in range(len(classes))])
    return np.asarray(out, np.float32)


def segmented(squeeze, folder, images, to_number, precision):
    meta = {"inputs": [{"name": "image", "shape": [1, 3, *images[0].shape[:2]], "dtype": "float32"}]}
    json.dump(meta, open(os.path.join(folder, "meta.json"), "w"))
    out = []
    for image in images:
        to_number(image).astype(np.float32).transpose(2, 0, 1)[None].tofile(os.path.join(folder, "image.bin"))
        answer = os.path.join(folder, "out.npy")
        call = [squeeze, "worker", folder, "2", "--precision", precision]
        subprocess.run(call, check=True, input=f"out {answer}\nquit\n", text=True, stdout=subprocess.DEVNULL)
        out.append(np.load(answer)[0].transpose(1, 2, 0))
    return np.stack(out)


def agreement(a, b):
    return 100.0 * (a == b).mean()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("squeeze")
    parser.add_argument("data")
    parser.add_argument("files", nargs="*")
    parser.add_argument("--images", type=int, default=500)
    args = parser.parse_args()
    archive = os.path.join(args.data, "imagenet-samples-256px.tar")
    files = args.files or sorted(glob.glob(os.path.join(args.data, "weights", "*.tflite")))
    failed = False
    for path in files:
        name = os.path.splitext(os.path.basename(path))[0]
        as_is, numbers = Interpreter(model_path=path), Interpreter(model_content=twin(path))
        entry, end = as_is.get_input_details()[0], as_is.get_output_details()[0]
        (scale, zero), size = entry["quantization"], int(entry["shape"][1])
        is_segment = len(end["shape"]) != 2
        if name in FLOAT:
            mean, std = FLOAT[name]
            to_number = lambda image: ((image / 255.0 - mean) / std).astype(np.float32)
            to_input, options = to_number, ["--mean", str(mean), "--std", str(std)]
        else:
            moved = 128 if entry["dtype"] == np.int8 else 0
            to_input = lambda image: (image.astype(int) - moved).astype(entry["dtype"])
            to_number = lambda image: (scale * (image.astype(np.float64) - moved - zero)).astype(np.float32)
            options = []
        if size == 32:
            pairs = list(cifar(os.path.join(args.data, "cifar10"), 2 * args.images))
        else:
            photos = squares(archive, size, 8 if is_segment else args.images)
            pairs = [(np.asarray(image), label) for image, label in photos]
        images, labels = [image for image, _ in pairs], np.asarray([label for _, label in pairs])
        if is_segment:
            bird = Image.open(os.path.join(args.data, "weights", "bird_segmentation.bmp")).convert("RGB")
            images.insert(0, np.asarray(bird.resize((size, size), Image.BILINEAR)))
        with tempfile.TemporaryDirectory() as folder:
            model = os.path.join(folder, "model.squeeze")
            call = [args.squeeze, "import", path, "-o", model]
            if not is_segment:
                names = os.path.join(folder, "labels.txt")
                open(names, "w").write("".join(f"{at}\n" for at in range(end["shape"][1])))
                call += ["--labels", names, *options]
            subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
            ours = {}
            for precision in ["f32"] if name in FLOAT else ["f32", "int8"]:
                if is_segment:
                    ours[precision] = segmented(args.squeeze, folder, images, to_number, precision)
                else:
                    ours[precision] = classified(args.squeeze, model, images, folder, precision)
        peer, ideal = answers(as_is, images, to_input), answers(numbers, images, to_number)
        classes = {"LiteRT": peer if is_segment else peer.argmax(-1), "LiteRT twin": ideal.argmax(-1)}
        classes |= {f"ours {precision}": out.argmax(-1) for precision, out in ours.items()}
        what = "pixels" if is_segment else "images"
        off = np.abs(ours["f32"] - ideal).max() / np.abs(ideal).max()
        same = agreement(classes["ours f32"], classes["LiteRT twin"])
        print(f"{name}: {len(images)} images, ours f32 off by {off:.1e} of the twin's largest output, {same:.2f} % of {what} equal")
        for one, other in [("ours f32", "LiteRT"), ("ours int8", "LiteRT"), ("ours int8", "ours f32"), ("LiteRT", "LiteRT twin")]:
            if one in classes:
                print(f"    {one} as {other}: {agreement(classes[one], classes[other]):.2f} % of {what}")
        if not is_segment and end["shape"][1] != 2:
            # ImageNet's files have the background as class 0.
            right = {which: agreement(found, labels + (end["shape"][1] == 1001)) for which, found in classes.items()}
            print("    right: " + ", ".join(f"{which} {share:.2f} %" for which, share in right.items()))
        if "LiteRT" in classes and not is_segment:
            for precision, out in ours.items():
                print(f"    ours {precision} off from LiteRT by at most {np.abs(out - peer).max():.1e}, in the mean {np.abs(out - peer).mean():.1e}")
        failed |= not (off <= 1e-4 and same >= 99.0)
    sys.exit(failed)


if __name__ == "__main__":
    main()
