"""A serving function as an ONNX model: traced by JAX, converted by jax2onnx, then adapted to what that cannot express.

jax2onnx assumes that no axis is 0 and knows int32 ids only. Here inputs get an empty history slot if they have none,
and int64 ids are clipped to the range of int32 first, so that an id outside it stays unknown.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx_ir as ir
from jax.extend.core import jaxpr_as_fun
from jax2onnx import to_onnx

from dienjax.export.graphs import Graph, Ids
from dienjax.export.simplify import Value, constant, simplify
from dienjax.serving.folder import TABLES

OPSET = 21
"""The operator set of the graphs. onnxruntime 1.20 runs it already; the oldest one that we allow is 1.25."""

SLOTS = "max(T, 1)"
"""The length of a history inside a graph, which adds an empty slot if there is none."""

LARGEST_FILE = 50_000_000
"""The most bytes of weights in a graph's own file. Protobuf ends at 2 GiB; long before that, one file that processes
map and share is better than three copies."""


def onnx_model(graph: Graph, variables: Any, ids: Ids = "int64") -> ir.Model:
    """The graph with the variables as its weights; the names of symbolic dimensions are those of its inputs' shapes."""
    specs = graph.inputs

    def call(*arrays: jax.Array) -> tuple[jax.Array, ...]:
        outputs = graph.call(variables, dict(zip(specs, arrays, strict=True)))
        return tuple(outputs[name] for name in graph.outputs)

    # Traced first: jax2onnx's own trace of a Linen module stops at nn.scan.
    jaxpr = jax.make_jaxpr(call)(*specs.values())
    model = to_onnx(
        jaxpr_as_fun(jaxpr), inputs=list(specs.values()), input_names=list(specs), output_names=list(graph.outputs),
        model_name=graph.name, opset=OPSET, return_mode="ir",
    )  # fmt: skip
    simplify(model)
    _allow_empty_axes(model)
    _Inputs(model.graph, ids).open()
    return model


def save(models: Mapping[str, ir.Model], folder: Path, largest: int = LARGEST_FILE) -> None:
    """Write <name>.onnx for each model; if the weights of one exceed `largest` bytes, those over 1 MB go to TABLES."""
    sizes = {name: sum(v.const_value.nbytes for v in _weights(model)) for name, model in models.items()}
    if max(sizes.values()) > largest:
        _move_out(models, folder)
    for name, model in models.items():
        ir.save(model, folder / f"{name}.onnx")


def _weights(model: ir.Model) -> Iterator[Any]:
    return (value for graph in model.graphs() for value in graph.initializers.values())


def _move_out(models: Mapping[str, ir.Model], folder: Path, threshold: int = 1_000_000) -> None:
    places: dict[bytes, tuple[int, int]] = {}
    with open(folder / TABLES, "wb") as file:
        for value in (v for model in models.values() for v in _weights(model) if v.const_value.nbytes > threshold):
            tensor = value.const_value
            data = np.ascontiguousarray(tensor.numpy()).data
            key = hashlib.sha256(data).digest()
            if key not in places:
                file.seek(-(-file.tell() // 4096) * 4096)  # whole pages, which onnxruntime can map
                places[key] = (file.tell(), data.nbytes)
                file.write(data)
            offset, length = places[key]
            value.const_value = ir.ExternalTensor(
                TABLES, offset, length, tensor.dtype, shape=tensor.shape, name=value.name, base_dir=folder
            )


def _allow_empty_axes(model: ir.Model) -> None:
    """Lets a 0 in a Reshape's target shape mean 0, not "as before", so that B and K may be 0."""
    for graph in model.graphs():
        for node in graph:
            if node.op_type == "Reshape":
                node.attributes["allowzero"] = ir.AttrInt64("allowzero", 1)


class _Inputs:
    """The nodes put between a graph's inputs and what uses them."""

    def __init__(self, graph: ir.Graph, ids: Ids) -> None:
        self.graph, self.ids = graph, ids
        self.nodes: list[ir.Node] = []
        self.extra: Value | None = None

    def open(self) -> None:
        first = self.graph[0]
        value: Value
        for value in list(self.graph.inputs):
            uses, inside = list(value.uses()), value
            if value.dtype == ir.DataType.INT32 and self.ids == "int64":
                inside = self._narrowed(value)
            if len(value.shape) > 1 and str(value.shape[1]) == "T":
                inside = self._padded(inside, len(value.shape))
            for node, i in uses:
                node.replace_input_with(i, inside)
        self.graph.insert_before(first, self.nodes)
        _rename_history_length(self.graph)

    def _narrowed(self, value: Value) -> Value:
        value.dtype = ir.DataType.INT64
        limits = [self._constant(name, np.int64(x)) for name, x in (("below", -1), ("above", np.iinfo(np.int32).max))]
        clipped = self._node("Clip", value, *limits)
        return self._node("Cast", clipped, to=ir.DataType.INT32)

    def _padded(self, value: Value, rank: int) -> Value:
        """The value with an empty history slot added if it has none."""
        if self.extra is None:
            one, zero = (self._constant(name, np.array([x])) for name, x in (("one", 1), ("zero", 0)))
            T = self._node("Shape", value, start=1, end=2)
            self.extra = self._node("Max", self._node("Sub", one, T), zero)
        before = self._constant(f"before_{rank}", np.zeros(rank + 1, np.int64))
        after = [self._constant(f"after_{rank}", np.zeros(rank - 2, np.int64))] if rank > 2 else []
        return self._node("Pad", value, self._node("Concat", before, self.extra, *after, axis=0))

    def _node(self, op: str, *inputs: Value, **attributes: Any) -> Value:
        node = ir.node(op, inputs, attributes)
        node.outputs[0].name = f"input_{op}_{len(self.nodes)}"
        self.nodes.append(node)
        return node.outputs[0]

    def _constant(self, name: str, array: Any) -> Value:
        return constant(self.graph, f"input_{name}", array)


def _rename_history_length(graph: ir.Graph) -> None:
    """Names the history length of computed values SLOTS: by shapes, onnxruntime sees which arrays can share memory."""
    for node in graph.all_nodes():
        for value in node.outputs:
            if value.shape is not None and value not in graph.outputs:
                value.shape = ir.Shape([SLOTS if str(dim) == "T" else dim for dim in value.shape])
