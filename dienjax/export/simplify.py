"""Makes of what jax2onnx writes what onnxruntime runs fast: the same numbers, but for the order of some sums.

JAX broadcasts and reshapes to explicit shapes, whose computation costs more than the arithmetic where arrays are small,
and its scan becomes a Loop that copies every sequence at every step. Here operators broadcast by themselves, axes of 1
come and go without a computed shape, and a Loop becomes a Scan, before which all is computed that does not depend on
its state.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

Node: TypeAlias = Any
Value: TypeAlias = Any
"""onnx_ir calls nearly everything optional; in a whole model nothing is."""

BROADCASTING = {
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mul", "Or", "Pow",
    "Sub", "Where",
}  # fmt: skip
MATRIX_PRODUCTS = {"ab,bc->ac", "abc,cd->abd", "abcd,de->abce"}
"""Equations of Einsum that are MatMul."""


def simplify(model: ir.Model) -> None:
    """Changes the model in place. It needs the shapes that jax2onnx wrote, with symbolic dimensions by name."""
    for node in list(model.graph):
        if node.op_type == "Loop":
            _make_scan(node)
    common.RemoveUnusedNodesPass()(model)
    common.ShapeInferencePass()(model)  # into the bodies
    for node in list(model.graph.all_nodes()):
        _broadcast(node)
        _move_axes(node)
        if node.op_type == "Einsum" and node.attributes["equation"].as_string() in MATRIX_PRODUCTS:
            _replace(node, ir.node("MatMul", node.inputs))
        elif node.op_type == "Cast":
            _drop_cast(node)
        elif node.op_type == "Max":
            _make_relu(node)
    for node in list(model.graph):
        if node.op_type == "Scan":
            _multiply_flat(node)
    common.IdentityEliminationPass()(model)
    common.CommonSubexpressionEliminationPass()(model)
    common.RemoveUnusedNodesPass()(model)
    common.NameFixPass()(model)
    for graph in model.graphs():  # the pass for nodes keeps initializers of bodies, of which onnxruntime warns
        for name, value in list(graph.initializers.items()):
            if not value.uses() and not value.is_graph_output():
                del graph.initializers[name]


def _make_scan(loop: Node) -> None:
    """Puts a Scan in the place of a Loop whose iteration number does no more than read the next of each sequence."""
    body: Any = loop.attributes["body"].as_graph()
    step, _, *inner = body.inputs
    if not all(node.op_type == "Gather" and node.inputs[0] in inner for node, _ in step.uses()):
        return
    carried = list(zip(loop.inputs[2:], inner, body.outputs[1:], loop.outputs, strict=False))
    collected = list(zip(body.outputs[1 + len(carried) :], loop.outputs[len(carried) :], strict=True))
    states, sequences = [], {}
    for outer, inside, out, result in carried:
        if not _is_copy(out, inside):
            inside.shape = outer.shape
            states.append((outer, inside, out, result))
            continue
        reads = [n.outputs[0] for n, _ in inside.uses() if n.op_type == "Gather" and n.inputs[1] is step]
        if reads:
            shape = ir.Shape(list(outer.shape)[1:])
            element = ir.Value(name=f"{inside.name}_element", type=inside.type, shape=shape)
            ir.convenience.replace_all_uses_with(reads, [element] * len(reads))
            sequences[element] = outer
        ir.convenience.replace_all_uses_with(inside, outer)
    collected = [(out, result) for out, result in collected if result.uses() or result.is_graph_output()]
    results = [result for *_, result in states] + [result for _, result in collected]
    outputs = [out for *_, out, _ in states] + [out for out, _ in collected]

    body.inputs.clear()
    body.outputs.clear()
    _compute_before(loop, body, {inside for _, inside, *_ in states}, sequences)
    nodes, constants = list(body), list(body.initializers.values())
    body.remove(nodes)
    body.initializers.clear()
    inputs = [inside for _, inside, *_ in states] + list(sequences)
    inner_graph = ir.Graph(inputs, outputs, nodes=nodes, initializers=constants, name=body.name)
    scan = ir.node(
        "Scan", [outer for outer, *_ in states] + list(sequences.values()),
        {"body": inner_graph, "num_scan_inputs": len(sequences)}, num_outputs=len(outputs),
    )  # fmt: skip
    ir.convenience.replace_nodes_and_values(loop.graph, loop, [], [scan], results, scan.outputs)
    loop.graph.remove(loop, safe=True)


def _is_copy(out: Value, inside: Value) -> bool:
    node = out.producer()
    return out is inside or (node is not None and node.op_type == "Identity" and node.inputs[0] is inside)


def _compute_before(loop: Node, body: ir.Graph, states: set[Value], sequences: dict[Value, Value]) -> None:
    """Moves nodes out of the body: those of constants, and those of sequences, computed for all steps at once.

    `sequences` has the whole of each sequence by the body's element of it; it gains and loses some.
    """
    graph: Any = loop.graph
    whole = dict(sequences)
    inside = {value for node in body for value in node.outputs} | whole.keys() | states
    for node in list(body):
        varying = [value for value in node.inputs if value in inside]
        if varying and not (_can_be_of_all_steps(node) and all(value in whole for value in varying)):
            continue
        value: Value
        for value in node.inputs:
            if value is not None and value.name in body.initializers:
                graph.register_initializer(body.initializers.pop(value.name))
        body.remove(node)
        if not varying:
            graph.insert_before(loop, node)
            inside -= set(node.outputs)
            continue
        for value, all_steps in zip(node.outputs, _of_all_steps(loop, node, whole), strict=True):
            all_steps.name, all_steps.type = f"{value.name}_of_all_steps", value.type
            whole[value] = all_steps
        for i in range(len(node.inputs)):
            node.replace_input_with(i, None)
    sequences.clear()
    for value, all_steps in whole.items():
        if value.uses():
            element = ir.Value(name=f"{value.name}_of_a_step", type=value.type, shape=value.shape)
            ir.convenience.replace_all_uses_with(value, element)
            sequences[element] = all_steps


def _of_all_steps(loop: Node, node: Node, whole: dict[Value, Value]) -> Sequence[Value]:
    """What a node of the body gives for inputs with a new first axis, computed before the loop."""
    inputs = [whole.get(value, value) for value in node.inputs]
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    if node.op_type == "Einsum":  # one with four axes would divide by 0 in onnxruntime where B is 0
        kernel, x = inputs
        swapped = ir.node("Transpose", [x], {"perm": (0, 2, 1, 3)})
        product = ir.node("MatMul", [kernel, *swapped.outputs])
        new = [swapped, product, ir.node("Transpose", product.outputs, {"perm": (0, 2, 1, 3)})]
    else:
        if node.op_type == "Split":
            attributes["axis"] += 1
        new = [ir.node(node.op_type, inputs, attributes, num_outputs=len(node.outputs))]
    loop.graph.insert_before(loop, new)
    return new[-1].outputs


def _can_be_of_all_steps(node: Node) -> bool:
    return node.op_type in ("Add", "Split") or _is_projection(node)


Dims = tuple[int | str | None, ...]


def _dims(value: Value | None) -> Dims | None:
    """The shape: numbers, and names of symbolic dimensions."""
    if value is None or value.shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)


def _broadcast(node: Node) -> None:
    """Takes an Expand out where it changes nothing, or its users broadcast as well by themselves."""
    if node.op_type != "Expand":
        return
    expanded = node.outputs[0]
    before = node.inputs[0].producer()
    if before is not None and before.op_type == "Expand":
        node.replace_input_with(0, before.inputs[0])
    x = node.inputs[0]
    if None not in (_dims(x) or (None,)) and _dims(x) == _dims(expanded):
        ir.convenience.replace_all_uses_with(expanded, x)
    for user, i in list(expanded.uses()):
        dims = [_dims(x if j == i else value) for j, value in enumerate(user.inputs)]
        if user.op_type in BROADCASTING and _together(dims) == _dims(user.outputs[0]):
            user.replace_input_with(i, x)


def _together(shapes: Sequence[Dims | None]) -> Dims | None:
    """The shape that broadcasting gives, or None where it cannot be told."""
    if any(dims is None or None in dims for dims in shapes):
        return None
    known = [dims for dims in shapes if dims is not None]
    rank = max(map(len, known))
    columns = zip(*((1,) * (rank - len(dims)) + dims for dims in known), strict=True)
    distinct = [set(column) - {1} or {1} for column in columns]
    return tuple(next(iter(dims)) for dims in distinct) if all(len(dims) == 1 for dims in distinct) else None


def _move_axes(node: Node) -> None:
    """Puts Unsqueeze or Squeeze in the place of a Reshape that only adds or only drops axes of 1."""
    if node.op_type != "Reshape":
        return
    before, after = _dims(node.inputs[0]), _dims(node.outputs[0])
    if before is None or after is None or None in (*before, *after):
        return
    for op, few, many in (("Unsqueeze", before, after), ("Squeeze", after, before)):
        axes = _extra_axes(few, many)
        if axes:
            name = f"axes_{'_'.join(map(str, axes))}"
            _replace(node, ir.node(op, [node.inputs[0], constant(node.graph, name, np.array(axes))]))
            return


def _extra_axes(few: Dims, many: Dims) -> list[int]:
    """Which axes of `many`, all 1, are not in `few`; none where they differ in more."""
    axes, left = [], list(few)
    for i, dim in enumerate(many):
        if left and left[0] == dim:
            left.pop(0)
        elif dim == 1:
            axes.append(i)
        else:
            return []
    return [] if left else axes


def constant(graph: Any, name: str, array: Any) -> Value:
    """The initializer of that name, which is `array`."""
    if name not in graph.initializers:
        tensor: Any = ir.tensor(array, name=name)
        graph.register_initializer(
            ir.Value(name=name, const_value=tensor, shape=tensor.shape, type=ir.TensorType(tensor.dtype))
        )
    return graph.initializers[name]


def _drop_cast(node: Node) -> None:
    """Takes out a Cast to the same type, unless its graph would then give one value twice, which Scan gets wrong."""
    x, y = node.inputs[0], node.outputs[0]
    if x.dtype == y.dtype and not (x.is_graph_output() and y.is_graph_output()):
        ir.convenience.replace_all_uses_with(y, x, replace_graph_outputs=True)


def _make_relu(node: Node) -> None:
    """Puts Relu in the place of max(x, 0)."""
    x, *others = node.inputs
    numbers = [value.const_value for value in others]
    if x.dtype == ir.DataType.FLOAT and all(n is not None and n.size == 1 and n.numpy() == 0 for n in numbers):
        _replace(node, ir.node("Relu", [x]))


def _multiply_flat(scan: Node) -> None:
    """Puts MatMul in the place of a body's Einsum of a kernel [A, B] and the state [B, C, D]."""
    body = scan.attributes["body"].as_graph()
    initial = dict(zip(body.inputs, scan.inputs, strict=True))
    for node in list(body):
        if not _is_projection(node) or node.inputs[1] not in initial:
            continue
        kernel, state = node.inputs
        A, B = _dims(kernel) or ()
        rest = ir.node("Shape", [initial[state]], {"start": 1})
        target = ir.node("Concat", [constant(scan.graph, f"rows_{A}", np.array([A])), *rest.outputs], {"axis": 0})
        scan.graph.insert_before(scan, [rest, target])
        flat = ir.node("Reshape", [state, constant(scan.graph, f"flat_{B}", np.array([B, -1]))])
        product = ir.node("MatMul", [kernel, *flat.outputs])
        body.insert_before(node, [flat, product])
        _replace(node, ir.node("Reshape", [*product.outputs, *target.outputs], {"allowzero": 1}))


def _is_projection(node: Node) -> bool:
    return node.op_type == "Einsum" and node.attributes["equation"].as_string() == "ab,bcd->acd"


def _replace(old: Node, new: Node) -> None:
    ir.convenience.replace_nodes_and_values(old.graph, old, [old], [new], old.outputs, new.outputs)
