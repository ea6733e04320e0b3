"""Rewrites what jax2onnx writes so that onnxruntime runs it fast; only the order of some sums changes.

JAX broadcasts and reshapes to explicit shapes, whose computation costs more than the arithmetic if arrays are small,
and its scan becomes a Loop that copies every sequence at every step. Here operators broadcast by themselves, axes of
size 1 come and go without a computed shape, and a Loop becomes a Scan, before which everything is computed that does
not depend on its state.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from dienjax.export.nodes import Dims, Node, Value, constant, dims_of, replace
from dienjax.export.scan import make_scan, multiply_flat

BROADCASTING = {
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mul", "Or", "Pow",
    "Sub", "Where",
}  # fmt: skip
MATRIX_PRODUCTS = {"ab,bc->ac", "abc,cd->abd", "abcd,de->abce"}
"""Equations of Einsum that MatMul computes."""


def simplify(model: ir.Model) -> None:
    """Simplify the model in place; it must have the shapes that jax2onnx wrote, with symbolic dimensions by name."""
    for node in list(model.graph):
        if node.op_type == "Loop":
            make_scan(node)
    common.RemoveUnusedNodesPass()(model)
    common.ShapeInferencePass()(model)  # into the bodies
    for node in list(model.graph.all_nodes()):
        if node.op_type in RULES:
            RULES[node.op_type](node)
    for node in list(model.graph):
        if node.op_type == "Scan":
            multiply_flat(node)
    common.IdentityEliminationPass()(model)
    common.DeduplicateInitializersPass()(model)
    common.CommonSubexpressionEliminationPass()(model)
    common.RemoveUnusedNodesPass()(model)
    common.NameFixPass()(model)
    _name_apart(model)
    for graph in model.graphs():  # the pass for nodes keeps initializers of bodies, of which onnxruntime warns
        for name, value in list(graph.initializers.items()):
            if not value.uses() and not value.is_graph_output():
                del graph.initializers[name]


def _name_apart(model: ir.Model) -> None:
    """Rename values of bodies that are called as others, which `NameFixPass` allows to those that follow a body."""
    names: set[str | None] = set()
    for graph in model.graphs():
        for value in (value for node in graph for value in node.outputs):
            if value.name in names:
                value.name = f"{value.name}_of_{graph.name}"
            names.add(value.name)


def _broadcast(expand: Node) -> None:
    """Removes an Expand that changes nothing, or whose users broadcast by themselves."""
    expanded = expand.outputs[0]
    before = expand.inputs[0].producer()
    if before is not None and before.op_type == "Expand":
        expand.replace_input_with(0, before.inputs[0])
    x = expand.inputs[0]
    if None not in (dims_of(x) or (None,)) and dims_of(x) == dims_of(expanded):
        ir.convenience.replace_all_uses_with(expanded, x)
    for user, i in list(expanded.uses()):
        dims = [dims_of(x if j == i else value) for j, value in enumerate(user.inputs)]
        if user.op_type in BROADCASTING and _together(dims) == dims_of(user.outputs[0]):
            user.replace_input_with(i, x)


def _together(shapes: Sequence[Dims | None]) -> Dims | None:
    """The shape that broadcasting gives, or None if it cannot be determined."""
    if any(dims is None or None in dims for dims in shapes):
        return None
    known = [dims for dims in shapes if dims is not None]
    rank = max(map(len, known))
    columns = zip(*((1,) * (rank - len(dims)) + dims for dims in known), strict=True)
    distinct = [set(column) - {1} or {1} for column in columns]
    return tuple(next(iter(dims)) for dims in distinct) if all(len(dims) == 1 for dims in distinct) else None


def _move_axes(reshape: Node) -> None:
    """Replaces a Reshape that only adds or only drops axes of size 1 by Unsqueeze or Squeeze."""
    x = reshape.inputs[0]
    before, after = dims_of(x), dims_of(reshape.outputs[0])
    if before is None or after is None or None in (*before, *after):
        return
    for op, few, many in (("Unsqueeze", before, after), ("Squeeze", after, before)):
        axes = _extra_axes(few, many)
        if axes:
            replace(reshape, ir.node(op, [x, _axes(reshape, axes)]))
            return


def _extra_axes(few: Dims, many: Dims) -> list[int]:
    """Which axes of `many`, all of size 1, are not in `few`; none if the shapes also differ otherwise."""
    axes, left = [], list(few)
    for i, dim in enumerate(many):
        if left and left[0] == dim:
            left.pop(0)
        elif dim == 1:
            axes.append(i)
        else:
            return []
    return [] if left else axes


def _axes(node: Node, axes: Sequence[int]) -> Value:
    return constant(node.graph, f"axes_{'_'.join(map(str, axes))}", np.array(axes))


def _drop_axis(gather: Node) -> None:
    """Replaces x[..., 0] with a last axis of size 1, which comes as a Gather of x transposed, by Squeeze."""
    x, index = gather.inputs
    transpose = x.producer()
    if transpose is None or transpose.op_type != "Transpose" or dims_of(index) != ():
        return
    last, *rest = transpose.attributes["perm"].as_ints()
    if gather.attributes["axis"].as_int() == 0 and rest == list(range(last)) and (dims_of(x) or (0,))[0] == 1:
        replace(gather, ir.node("Squeeze", [transpose.inputs[0], _axes(gather, [last])]))


def _make_matmul(einsum: Node) -> None:
    """Replaces an Einsum that is a matrix product by MatMul."""
    equation = einsum.attributes["equation"].as_string()
    if equation in MATRIX_PRODUCTS:
        replace(einsum, ir.node("MatMul", einsum.inputs))
    elif equation == "zab,zcbd->zacd":  # one matrix, which stays small enough for the cache, for each c
        x, matrices = einsum.inputs
        product = ir.node("MatMul", [_inserted(einsum, ir.node("Unsqueeze", [x, _axes(einsum, [1])])), matrices])
        replace(einsum, ir.node("Transpose", [_inserted(einsum, product)], {"perm": (0, 2, 1, 3)}))


def _inserted(place: Node, node: Node) -> Value:
    """The output of a node, after inserting the node before `place`."""
    place.graph.insert_before(place, node)
    return node.outputs[0]


def _transpose_once(transpose: Node) -> None:
    """Merges two transpositions into one, and removes two that undo each other."""
    before = transpose.inputs[0].producer()
    if before is None or before.op_type != "Transpose":
        return
    first, second = (node.attributes["perm"].as_ints() for node in (before, transpose))
    perm = [first[i] for i in second]
    same = perm == sorted(perm)
    replace(transpose, ir.node("Identity" if same else "Transpose", before.inputs, {} if same else {"perm": perm}))


def _drop_cast(cast: Node) -> None:
    """Removes a Cast to the same type, unless its graph would then return one value twice, which Scan gets wrong."""
    x, y = cast.inputs[0], cast.outputs[0]
    if x.dtype == y.dtype and not (x.is_graph_output() and y.is_graph_output()):
        ir.convenience.replace_all_uses_with(y, x, replace_graph_outputs=True)


def _make_relu(maximum: Node) -> None:
    """Replaces max(x, 0) by Relu."""
    x, *others = maximum.inputs
    numbers = [value.const_value for value in others]
    if x.dtype == ir.DataType.FLOAT and all(n is not None and n.size == 1 and n.numpy() == 0 for n in numbers):
        replace(maximum, ir.node("Relu", [x]))


RULES = {
    "Cast": _drop_cast,
    "Einsum": _make_matmul,
    "Expand": _broadcast,
    "Gather": _drop_axis,
    "Max": _make_relu,
    "Reshape": _move_axes,
    "Transpose": _transpose_once,
}
"""What is done to each node, by its operator; nodes are taken in the order of the graph."""
