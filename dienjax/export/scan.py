"""Turns a Loop, in which jax2onnx copies every sequence at every step, into a Scan with a small body."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from dienjax.export.nodes import Node, Value, constant, dims_of, replace


def make_scan(loop: Node) -> None:
    """Replace a Loop by a Scan, if its iteration number is used only to read the next element of each sequence."""
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

    `sequences` maps the element that the body reads to the whole sequence; it is updated in place.
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
    """The outputs of a node of the body for inputs with a new first axis, computed before the loop."""
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


def multiply_flat(scan: Node) -> None:
    """Replace a body's Einsum of a kernel [A, B] and the state [B, C, D] by MatMul."""
    body = scan.attributes["body"].as_graph()
    initial = dict(zip(body.inputs, scan.inputs, strict=True))
    for node in list(body):
        if not _is_projection(node) or node.inputs[1] not in initial:
            continue
        kernel, state = node.inputs
        A, B = dims_of(kernel) or ()
        rest = ir.node("Shape", [initial[state]], {"start": 1})
        target = ir.node("Concat", [constant(scan.graph, f"rows_{A}", np.array([A])), *rest.outputs], {"axis": 0})
        scan.graph.insert_before(scan, [rest, target])
        flat = ir.node("Reshape", [state, constant(scan.graph, f"flat_{B}", np.array([B, -1]))])
        product = ir.node("MatMul", [kernel, *flat.outputs])
        body.insert_before(node, [flat, product])
        replace(node, ir.node("Reshape", [*product.outputs, *target.outputs], {"allowzero": 1}))


def _is_projection(node: Node) -> bool:
    return node.op_type == "Einsum" and node.attributes["equation"].as_string() == "ab,bcd->acd"
