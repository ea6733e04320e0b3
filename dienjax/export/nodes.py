"""What the passes over ONNX graphs share: shapes with symbolic dimensions, constants, replacement."""

from typing import Any, TypeAlias

import onnx_ir as ir

Node: TypeAlias = Any
Value: TypeAlias = Any
"""onnx_ir types nearly everything as optional; in a complete model nothing is."""

Dims = tuple[int | str | None, ...]


def dims_of(value: Value | None) -> Dims | None:
    """The shape, as numbers and names of symbolic dimensions; None if it is unknown."""
    if value is None or value.shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)


def constant(graph: Any, name: str, array: Any) -> Value:
    """The graph's initializer `name`, made from `array` if there is none yet."""
    if name not in graph.initializers:
        tensor: Any = ir.tensor(array, name=name)
        graph.register_initializer(
            ir.Value(name=name, const_value=tensor, shape=tensor.shape, type=ir.TensorType(tensor.dtype))
        )
    return graph.initializers[name]


def replace(old: Node, new: Node) -> None:
    """Replace the node `old` by `new`, which takes over its outputs."""
    ir.convenience.replace_nodes_and_values(old.graph, old, [old], [new], old.outputs, new.outputs)
