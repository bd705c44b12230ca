"""Writes the small TFLite files, each with its inputs and LiteRT's answer, that the import is held against.

tflite_image    windows of all kinds with SAME and VALID padding, gates, sums, constants, a part in half precision, a batch that is
                known when it runs
tflite_segment  resizing, zeros around images, axes in another order, slices; an ARG_MAX ends it, which LiteRT's answer is without
tflite_int8     the same kind of network in bytes: a scale for each channel, activations with zero points
tflite_uint8    one scale and one zero point for each weight, as older files have them

needs ai_edge_litert, flatbuffers and numpy:  python golden/tflite_files.py
"""
import json
import os

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

random = np.random.default_rng(0)
SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
NONE, RELU, RELU6 = 0, 1, 3
TYPES = {np.float32: schema.TensorType.FLOAT32, np.float16: schema.TensorType.FLOAT16, np.int32: schema.TensorType.INT32,
         np.int8: schema.TensorType.INT8, np.uint8: schema.TensorType.UINT8, np.int64: schema.TensorType.INT64}


class Network:
    """A file in the making; operators give numbers of tensors."""

    def __init__(self, shape):
        self.model, self.graph = schema.ModelT(), schema.SubGraphT()
        self.model.version, self.model.description = 3, b"small"
        self.model.operatorCodes, self.model.buffers, self.model.subgraphs = [], [schema.BufferT()], [self.graph]
        self.graph.tensors, self.graph.operators = [], []
        self.input = self.tensor(shape)
        self.graph.inputs = [self.input]

    def tensor(self, shape, dtype=np.float32, data=None, signature=None):
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = list(shape), TYPES[dtype], 0
        tensor.name = f"layer{len(self.graph.tensors)}".encode()
        tensor.shapeSignature = signature
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data, dtype).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def known(self, values):
        values = np.asarray(values, np.int32)
        return self.tensor(values.shape, np.int32, values)

    def weight(self, *shape, dtype=np.float32):
        fan = np.prod(shape) / (shape[0] if shape[0] > 1 else shape[-1])
        return self.tensor(shape, dtype, random.normal(size=shape) * (1.5 / fan) ** 0.5)

    def shape(self, tensor):
        return list(self.graph.tensors[tensor].shape)

    def op(self, name, inputs, shape, options=None, dtype=np.float32, version=1, signature=None, **fields):
        """One operator; `options` names its table, fields are those of the table."""
        code = schema.OperatorCodeT()
        code.builtinCode, code.version = getattr(schema.BuiltinOperator, name), version
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        same = [at for at, old in enumerate(self.model.operatorCodes) if (old.builtinCode, old.version) == (code.builtinCode, version)]
        if not same:
            self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = same[0] if same else len(self.model.operatorCodes) - 1
        operator.inputs = inputs
        shapes = shape if shape and isinstance(shape[0], list) else [shape]
        operator.outputs = [self.tensor(shape, dtype, signature=signature) for shape in shapes]
        if options:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options + "Options")
            operator.builtinOptions = getattr(schema, options + "OptionsT")()
            for field, value in fields.items():
                assert hasattr(operator.builtinOptions, field), field
                setattr(operator.builtinOptions, field, value)
        self.graph.operators.append(operator)
        return operator.outputs if len(shapes) > 1 else operator.outputs[0]

    def windows(self, x, kernel, stride, padding, dilation=1):
        _, h, w, _ = self.shape(x)
        reach = (kernel - 1) * dilation + 1
        return [-(-size // stride) if padding == SAME else (size - reach) // stride + 1 for size in (h, w)]

    def conv(self, x, out, kernel, stride=1, padding=SAME, dilation=1, ending=NONE, groups=1, dtype=np.float32):
        weight = self.weight(out, kernel, kernel, self.shape(x)[3] // groups, dtype=dtype)
        if dtype == np.float16:
            weight = self.op("DEQUANTIZE", [weight], self.shape(weight), version=3)
        bias = self.weight(out)
        return self.op("CONV_2D", [x, weight, bias], [1, *self.windows(x, kernel, stride, padding, dilation), out], "Conv2D", padding=padding,
                       strideW=stride, strideH=stride, dilationWFactor=dilation, dilationHFactor=dilation, fusedActivationFunction=ending)

    def depthwise(self, x, kernel, stride=1, padding=SAME, times=1, dilation=1, ending=NONE):
        out = self.shape(x)[3] * times
        weight = self.tensor([1, kernel, kernel, out], np.float32, random.normal(size=(kernel, kernel, out)) / kernel)
        return self.op("DEPTHWISE_CONV_2D", [x, weight, self.weight(out)], [1, *self.windows(x, kernel, stride, padding, dilation), out],
                       "DepthwiseConv2D", padding=padding, strideW=stride, strideH=stride, depthMultiplier=times, dilationWFactor=dilation,
                       dilationHFactor=dilation, fusedActivationFunction=ending)

    def pool(self, name, x, kernel, stride, padding):
        return self.op(name, [x], [1, *self.windows(x, kernel, stride, padding), self.shape(x)[3]], "Pool2D", padding=padding, strideW=stride,
                       strideH=stride, filterWidth=kernel, filterHeight=kernel)

    def fully(self, x, out, shape=None, ending=NONE):
        inner = self.shape(x)[-1] if shape is None else int(np.prod(self.shape(x)))
        return self.op("FULLY_CONNECTED", [x, self.weight(out, inner), self.weight(out)], shape or [1, out], "FullyConnected",
                       fusedActivationFunction=ending)

    def pair(self, name, a, b, options, **fields):
        return self.op(name, [a, b], self.shape(a), options, **fields)

    def each(self, name, x, **fields):
        return self.op(name, [x], self.shape(x), **fields)

    def concat(self, parts, axis=3):
        shape = self.shape(parts[0])
        shape[axis] = sum(self.shape(part)[axis] for part in parts)
        return self.op("CONCATENATION", parts, shape, "Concatenation", axis=axis)

    def mean(self, x, keep):
        shape = self.shape(x)
        return self.op("MEAN", [x, self.known([1, 2])], [1, 1, 1, shape[3]] if keep else [1, shape[3]], "Reducer", keepDims=keep)

    def softmax(self, x):
        return self.op("SOFTMAX", [x], self.shape(x), "Softmax", beta=1.0)

    def file(self, *outputs):
        self.graph.outputs = list(outputs)
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def run(content, x, wanted=None):
    """LiteRT's answer, or those of some tensors."""
    interpreter = Interpreter(model_content=content, experimental_preserve_all_tensors=wanted is not None,
                              experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    if wanted is None:
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return {tensor: interpreter.get_tensor(tensor) for tensor in wanted}


def save(name, content, x, out):
    folder = os.path.dirname(os.path.abspath(__file__))
    open(os.path.join(folder, name + ".tflite"), "wb").write(content)
    rows = {"x": np.round(x.astype(np.float64), 6).ravel().tolist(), "out": out.astype(np.float64).ravel().tolist()}
    json.dump(rows, open(os.path.join(folder, name + ".json"), "w"))
    print(name, len(content), "bytes", out.ravel()[:4])


def image():
    n = Network([1, 12, 10, 3])
    x = n.pair("MUL", n.input, n.tensor([], np.float32, 2.0), "Mul")
    x = n.op("SUB", [x, n.tensor([3], np.float32, [0.1, 0.2, 0.3])], n.shape(x), "Sub")
    x = n.conv(x, 8, 3, stride=2, ending=RELU6)
    y = n.depthwise(x, 5, stride=2, ending=RELU)
    y = n.concat([y, n.pool("MAX_POOL_2D", x, 3, 2, SAME), n.pool("AVERAGE_POOL_2D", x, 2, 2, SAME)])
    z = n.depthwise(x, 3, times=2, dilation=2)
    z = n.each("HARD_SWISH", z)
    z = n.op("PAD", [z, n.known([[0, 0], [0, 1], [1, 1], [0, 0]])], [1, 7, 7, 16], "Pad")
    z = n.conv(z, 24, 3, stride=2, padding=VALID, groups=2)
    y = n.pair("ADD", y, z, "Add", fusedActivationFunction=RELU)
    gate = n.conv(n.conv(n.mean(y, True), 6, 1, ending=RELU), 24, 1, dtype=np.float16)
    gate = n.each("LOGISTIC", gate)
    y = n.pair("MUL", y, gate, "Mul")
    swish = n.each("LOGISTIC", y)
    y = n.pair("MUL", y, swish, "Mul")
    y = n.pair("ADD", y, n.tensor([1, 1, 1, 24], np.float32, random.normal(size=24) / 8), "Add", fusedActivationFunction=RELU)
    y = n.each("TANH", y)
    a, b = n.op("SPLIT", [n.known(3), y], [[1, 3, 3, 12], [1, 3, 3, 12]], "Split", numSplits=2)
    y = n.pair("ADD", a, b, "Add")
    # A batch that is known when it runs, as Keras writes it.
    shape = n.op("SHAPE", [y], [4], "Shape", dtype=np.int32, outType=schema.TensorType.INT32)
    batch = n.op("STRIDED_SLICE", [shape, n.known([0]), n.known([1]), n.known([1])], [], "StridedSlice", dtype=np.int32, shrinkAxisMask=1)
    rows = n.op("PACK", [batch, n.known(108)], [2], "Pack", dtype=np.int32, valuesCount=2)
    flat = n.op("RESHAPE", [y, rows], [1, 108], "Reshape", signature=[-1, -1])
    hidden = n.fully(flat, 16, ending=RELU)
    out = n.fully(n.concat([hidden, n.mean(y, False)], axis=1), 5)
    out = n.softmax(n.pair("DIV", out, n.tensor([1], np.float32, 4.0), "Div"))
    x = random.normal(size=[1, 12, 10, 3]).astype(np.float32).round(3)
    content = n.file(out)
    save("tflite_image", content, x, run(content, x))


def segment():
    n = Network([1, 8, 12, 3])
    x = n.conv(n.input, 6, 3, stride=2, ending=RELU6)
    y = n.conv(x, 4, 3, stride=2, ending=RELU)
    low = n.op("AVERAGE_POOL_2D", [y], [1, 1, 1, 4], "Pool2D", padding=VALID, strideW=1, strideH=1, filterWidth=3, filterHeight=2)
    low = n.op("RESIZE_BILINEAR", [n.conv(low, 4, 1), n.known([4, 6])], [1, 4, 6, 4], "ResizeBilinear")
    corners = n.op("RESIZE_BILINEAR", [y, n.known([4, 6])], [1, 4, 6, 4], "ResizeBilinear", alignCorners=True)
    centres = n.op("RESIZE_BILINEAR", [y, n.known([4, 6])], [1, 4, 6, 4], "ResizeBilinear", version=3, halfPixelCenters=True)
    nearest = n.op("RESIZE_NEAREST_NEIGHBOR", [y, n.known([4, 6])], [1, 4, 6, 4], "ResizeNearestNeighbor")
    x = n.concat([x, low, corners, centres, nearest])
    x = n.op("PAD", [x, n.known([[0, 0], [1, 0], [0, 2], [0, 0]])], [1, 5, 8, 22], "Pad")
    x = n.each("TANH", x)
    x = n.op("STRIDED_SLICE", [x, n.known([0, 0, -7, 2]), n.known([1, 4, 8, 22]), n.known([1, 1, 1, 1])], [1, 4, 7, 20], "StridedSlice", beginMask=1,
             endMask=8)
    turned = n.op("TRANSPOSE", [x, n.known([0, 2, 1, 3])], [1, 7, 4, 20], "Transpose")
    x = n.op("SLICE", [turned, n.known([0, 1, 0, 0]), n.known([-1, 6, 4, 20])], [1, 6, 4, 20], "Slice")
    x = n.op("TRANSPOSE", [x, n.known([0, 2, 1, 3])], [1, 4, 6, 20], "Transpose")
    x = n.op("RESHAPE", [x, n.known([1, 24, 20])], [1, 24, 20], "Reshape")
    x = n.op("RESHAPE", [n.softmax(x), n.known([1, 4, 6, 20])], [1, 4, 6, 20], "Reshape")
    x = n.op("RESIZE_BILINEAR", [n.conv(x, 5, 1), n.known([8, 12])], [1, 8, 12, 5], "ResizeBilinear", version=3, halfPixelCenters=True)
    classes = n.op("ARG_MAX", [x, n.known(3)], [1, 8, 12], "ArgMax", dtype=np.int64, outputType=schema.TensorType.INT64)
    content = n.file(classes)
    image = random.normal(size=[1, 8, 12, 3]).astype(np.float32).round(3)
    # LiteRT's answer before the last operator.
    n.graph.operators.pop()
    save("tflite_segment", content, image, run(n.file(x), image))


def in_bytes(name, dtype):
    n = Network([1, 11, 14, 3])
    x = n.conv(n.input, 16, 3, stride=2, ending=RELU6)
    x = n.depthwise(x, 3, stride=2, ending=RELU6)
    x = n.conv(x, 8, 1)
    y = n.conv(x, 24, 1, ending=RELU6)
    y = n.depthwise(y, 3)
    y = n.pair("MUL", y, n.each("LOGISTIC", y), "Mul")
    x = n.pair("ADD", n.conv(y, 8, 1), x, "Add")
    x = n.conv(x, 32, 1, ending=RELU6)
    x = n.op("AVERAGE_POOL_2D", [x], [1, 1, 1, 32], "Pool2D", padding=VALID, strideW=1, strideH=1, filterWidth=4, filterHeight=3)
    x = n.op("RESHAPE", [x, n.known([1, 32])], [1, 32], "Reshape")
    out = n.softmax(n.fully(x, 6))
    pixels = random.integers(0, 256, size=[1, 11, 14, 3])
    numbers = ((pixels - 128) / 128).astype(np.float32)
    quantize(n, out, numbers, dtype)
    stored = (pixels - (128 if dtype == np.int8 else 0)).astype(dtype)
    answer = run(n.file(out), stored)
    q = n.graph.tensors[out].quantization
    save(name, n.file(out), numbers, float(q.scale[0]) * (answer.astype(float) - int(q.zeroPoint[0])))


def quantize(n, out, x, dtype):
    """The network in bytes, with the ranges of its numbers for this input."""
    made = [tensor for operator in n.graph.operators for tensor in operator.outputs]
    seen = run(n.file(out), x, made) | {n.input: x}
    low, high, types = (-128, 127, "INT8") if dtype == np.int8 else (0, 255, "UINT8")
    codes = [code.builtinCode for code in n.model.operatorCodes]
    names = {value: key for key, value in vars(schema.BuiltinOperator).items()}

    def mark(tensor, scales, zeros, kind, axis=0):
        q = schema.QuantizationParametersT()
        q.scale, q.zeroPoint, q.quantizedDimension = list(map(float, scales)), list(map(int, zeros)), axis
        tensor.quantization, tensor.type = q, getattr(schema.TensorType, kind)
        return q

    def store(tensor, values):
        n.model.buffers[tensor.buffer].data = np.frombuffer(values.tobytes(), np.uint8)

    for at in [n.input, *made]:
        least, most = min(seen[at].min(), 0.0), max(seen[at].max(), 0.0)
        if at == n.input:
            least, most = -1.0, 127 / 128
        scale = (most - least) / 255
        mark(n.graph.tensors[at], [scale], [round(low - least / scale)], types)
    mark(n.graph.tensors[out], [1 / 256], [low], types)
    for operator in n.graph.operators:
        kind = names[codes[operator.opcodeIndex]]
        if kind == "LOGISTIC":
            mark(n.graph.tensors[operator.outputs[0]], [1 / 256], [low], types)
        if kind in ("AVERAGE_POOL_2D", "RESHAPE"):
            n.graph.tensors[operator.outputs[0]].quantization = n.graph.tensors[operator.inputs[0]].quantization
        if kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            continue
        x, weight, bias = [n.graph.tensors[at] for at in operator.inputs]
        values, added = [np.frombuffer(n.model.buffers[t.buffer].data.tobytes(), np.float32).reshape(t.shape) for t in (weight, bias)]
        axis = 3 if kind == "DEPTHWISE_CONV_2D" else 0
        if dtype == np.int8:
            scales = np.abs(values).max(axis=tuple(at for at in range(values.ndim) if at != axis)) / 127
            spread = [-1 if at == axis else 1 for at in range(values.ndim)]
            store(weight, np.round(values / scales.reshape(spread)).astype(np.int8))
            zeros = np.zeros(len(scales))
        else:
            scales = np.asarray([(values.max() - values.min()) / 254])
            zeros = np.round(1 - values.min() / scales)
            store(weight, np.round(values / scales + zeros).astype(np.uint8))
        mark(weight, scales, zeros, types, axis)
        of_bias = x.quantization.scale[0] * scales
        store(bias, np.round(added / of_bias).astype(np.int32))
        mark(bias, of_bias, np.zeros(len(scales)), "INT32")
    for code in n.model.operatorCodes:
        code.version = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4}.get(names[code.builtinCode], 2) if dtype == np.int8 else 1
        code.version = 1 if names[code.builtinCode] == "RESHAPE" else code.version


image()
segment()
in_bytes("tflite_int8", np.int8)
in_bytes("tflite_uint8", np.uint8)
