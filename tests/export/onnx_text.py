"""Models in ONNX's text form, as they are and simplified."""

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

from dienjax.export.simplify import simplify

HEADER = '<ir_version: 10, opset_import: ["" : 21]>\n'


def run(model, arrays):
    data = model if isinstance(model, bytes) else ir.to_proto(model).SerializeToString()
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, arrays)


def simplified(text):
    """The model as it was, as bytes, and simplified."""
    proto = onnx.parser.parse_model(HEADER + text)
    model = ir.from_proto(proto)
    simplify(model)
    return proto.SerializeToString(), model


def operators(model):
    return Counter(node.op_type for node in model.graph.all_nodes())


def random(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)
