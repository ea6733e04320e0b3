"""Simplified graphs give the same numbers with fewer operators, whatever the sizes of their axes."""

from collections import Counter

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ir = pytest.importorskip("onnx_ir")
onnxruntime = pytest.importorskip("onnxruntime")
simplify = pytest.importorskip("dienjax.export.simplify")

HEADER = '<ir_version: 10, opset_import: ["" : 21]>\n'
RECURRENCE = """
scan (float[T,2,1,B] x, bool[T,1,1,B] mask, float[2,3,B] start) => (float[2,3,B] last, float[T,2,3,B] states)
<float[2,2] kernel = {0.5, -1.0, 0.25, 2.0}, float[2] bias = {0.1, -0.2}, int64 zero = {0}, bool yes = {1}> {
  x_shape = Shape(x)
  steps = Gather(x_shape, zero)
  w, b, last, xs, masks, states = Loop <body = body (
    int64 i, bool go, float[2,2] w_in, float[2] b_in, float[2,3,B] h, float[T,2,1,B] x_in, bool[T,1,1,B] mask_in
  ) => (
    bool go_out, float[2,2] w_out, float[2] b_out, float[2,3,B] h_out, float[T,2,1,B] x_out, bool[T,1,1,B] mask_out,
    float[2,3,B] collected
  )
  <int64[3] column = {2, 1, 1}> {
    x_t = Gather <axis = 0> (x_in, i)
    mask_t = Gather <axis = 0> (mask_in, i)
    turned = Transpose <perm = [1, 0]> (w_in)
    projected = Einsum <equation = "ab,bcd->acd"> (turned, x_t)
    bias_column = Reshape(b_in, column)
    input = Add(projected, bias_column)
    first, second = Split <axis = 0, num_outputs = 2> (input)
    swapped = Concat <axis = 0> (second, first)
    recurrent = Einsum <equation = "ab,bcd->acd"> (turned, h)
    sum = Add(swapped, recurrent)
    new = Tanh(sum)
    shape = Shape(h)
    wide = Expand(mask_t, shape)
    h_new = Where(wide, new, h)
    h_out = Cast <to = 1> (h_new)
    collected = Cast <to = 1> (h_new)
    go_out = Identity(go)
    w_out = Identity(w_in)
    b_out = Identity(b_in)
    x_out = Identity(x_in)
    mask_out = Identity(mask_in)
  }> (steps, yes, kernel, bias, start, x, mask)
}
"""


def run(model, arrays):
    data = model if isinstance(model, bytes) else ir.to_proto(model).SerializeToString()
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, arrays)


def simplified(text):
    """The model as it was, as bytes, and simplified."""
    proto = onnx.parser.parse_model(HEADER + text)
    model = ir.from_proto(proto)
    simplify.simplify(model)
    return proto.SerializeToString(), model


def operators(model):
    return Counter(node.op_type for node in model.graph.all_nodes())


def random(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def test_a_loop_becomes_a_scan_with_little_in_its_body():
    before, model = simplified(RECURRENCE)
    assert "Loop" not in operators(model)
    (scan,) = (node for node in model.graph if node.op_type == "Scan")
    body = {node.op_type for node in scan.attributes["body"].as_graph()}
    # The input's projection and what depends on constants alone are computed before.
    assert body == {"Add", "Cast", "Concat", "MatMul", "Reshape", "Tanh", "Where"}
    for T, B in ((1, 1), (5, 3), (5, 1), (2, 0)):
        arrays = {"x": random(T, 2, 1, B), "mask": random(T, 1, 1, B) > 0, "start": random(2, 3, B)}
        for got, want in zip(run(model, arrays), run(before, arrays), strict=True):
            np.testing.assert_allclose(got, want, atol=1e-6)


def test_a_loop_of_another_kind_is_left_alone():
    text = RECURRENCE.replace(
        "new = Tanh(sum)", "i_f = Cast <to = 1> (i)\n    moved = Add(sum, i_f)\n    new = Tanh(moved)"
    )
    before, model = simplified(text)
    assert operators(model)["Loop"] == 1
    arrays = {"x": random(4, 2, 1, 3), "mask": random(4, 1, 1, 3) > 0, "start": random(2, 3, 3)}
    for got, want in zip(run(model, arrays), run(before, arrays), strict=True):
        np.testing.assert_array_equal(got, want)


BROADCAST = """
g (float[B,K,1] x, float[B,K,T] y, int64[3] shape) => (float[B,K,T] z) {
  wide = Expand(x, shape)
  z = %s
}
"""


@pytest.mark.parametrize("op", ["Add(wide, y)", "Sub(y, wide)", "Mul(wide, y)"])
def test_operators_broadcast_by_themselves(op):
    before, model = simplified(BROADCAST % op)
    assert operators(model) == {op[:3]: 1}
    arrays = {"x": random(2, 3, 1), "y": random(2, 3, 4), "shape": np.array([2, 3, 4])}
    # An input that nothing reads any more is still an input.
    np.testing.assert_array_equal(run(model, arrays)[0], run(before, arrays)[0])


@pytest.mark.parametrize("op", ["Add(wide, x)", "Identity(wide)"])
def test_an_expand_that_is_needed_stays(op):
    before, model = simplified(BROADCAST % op)
    assert operators(model)["Expand"] == 1
    arrays = {"x": random(2, 3, 1), "y": random(2, 3, 4), "shape": np.array([2, 3, 4])}
    np.testing.assert_array_equal(run(model, arrays)[0], run(before, arrays)[0])


@pytest.mark.parametrize(
    ("before", "after", "target", "operator"),
    [
        ("B,4", "B,1,4,1", (2, 1, 4, 1), "Unsqueeze"),
        ("B,1,4", "B,4", (2, 4), "Squeeze"),
        ("B,4", "B,2,2", (2, 2, 2), "Reshape"),
        ("4", "1,1,4", (1, 1, 4), "Unsqueeze"),
    ],
)
def test_axes_of_1_come_and_go_without_a_shape(before, after, target, operator):
    shapes = f"(float[{before}] x, int64[{len(target)}] shape) => (float[{after}] y)"
    original, model = simplified(f"g {shapes} {{ y = Reshape(x, shape) }}")
    assert operators(model) == {operator: 1}
    arrays = {"x": random(*(2 if d == "B" else int(d) for d in before.split(","))), "shape": np.array(target)}
    np.testing.assert_array_equal(run(model, arrays)[0], run(original, arrays)[0])


def test_a_product_along_the_last_axis_is_a_matrix_product():
    text = 'g (float[B,K,T,3] x, float[3,2] w) => (float[B,K,T,2] z) { z = Einsum <equation = "abcd,de->abce"> (x, w) }'
    before, model = simplified(text)
    assert operators(model) == {"MatMul": 1}
    arrays = {"x": random(2, 3, 4, 3), "w": random(3, 2)}
    np.testing.assert_allclose(run(model, arrays)[0], run(before, arrays)[0], rtol=1e-5)


def test_a_matrix_for_each_of_many_vectors_is_a_matrix_product():
    text = """g (float[B,K,3] x, float[B,T,3,2] w) => (float[B,T,K,2] z) {
      y = Einsum <equation = "zab,zcbd->zacd"> (x, w)
      z = Transpose <perm = [0, 2, 1, 3]> (y)
    }"""
    before, model = simplified(text)
    assert operators(model) == {"Unsqueeze": 1, "MatMul": 1}
    for B, K, T in ((2, 3, 4), (1, 1, 1), (0, 3, 2), (2, 0, 2)):
        arrays = {"x": random(B, K, 3), "w": random(B, T, 3, 2)}
        np.testing.assert_allclose(run(model, arrays)[0], (arrays["x"][:, None] @ arrays["w"]), rtol=1e-5)
    np.testing.assert_allclose(run(model, arrays)[0], run(before, arrays)[0], rtol=1e-5)


@pytest.mark.parametrize(("second", "after"), [("[2, 0, 1]", {}), ("[0, 2, 1]", {"Transpose": 1})])
def test_two_transpositions_are_one_or_none(second, after):
    text = f"""g (float[2,3,4] x) => (float[A,B,C] z) {{
      y = Transpose <perm = [1, 2, 0]> (x)
      t = Transpose <perm = {second}> (y)
      z = Relu(t)
    }}"""
    before, model = simplified(text)
    assert operators(model) == after | {"Relu": 1}
    np.testing.assert_array_equal(run(model, {"x": random(2, 3, 4)})[0], run(before, {"x": random(2, 3, 4)})[0])


@pytest.mark.parametrize(
    ("shape", "perm", "after"),
    [
        ("B,K,1", "[2, 0, 1]", {"Squeeze": 1}),
        ("B,K,3", "[2, 0, 1]", {"Transpose": 1, "Gather": 1}),
        ("B,1,3", "[1, 2, 0]", {"Transpose": 1, "Gather": 1}),
    ],
)
def test_a_last_axis_of_1_is_dropped_without_a_gather(shape, perm, after):
    text = f"""g (float[{shape}] x) => (float[I,J] y) <int64 zero = {{0}}> {{
      t = Transpose <perm = {perm}> (x)
      y = Gather <axis = 0> (t, zero)
    }}"""
    before, model = simplified(text)
    assert operators(model) == after
    x = random(*(2 if d in "BK" else int(d) for d in shape.split(",")))
    np.testing.assert_array_equal(run(model, {"x": x})[0], run(before, {"x": x})[0])


@pytest.mark.parametrize(("number", "operator"), [("0.0", "Relu"), ("0.5", "Max")])
def test_the_larger_of_a_number_and_0_is_relu(number, operator):
    text = f"g (float[B,3] x) => (float[B,3] y) <float bound = {{{number}}}> {{ y = Max(x, bound) }}"
    before, model = simplified(text)
    assert operators(model) == {operator: 1}
    np.testing.assert_array_equal(run(model, {"x": random(4, 3)})[0], run(before, {"x": random(4, 3)})[0])


@pytest.mark.parametrize(
    ("shapes", "together"),
    [
        ([("B", "K"), ("B", 1)], ("B", "K")),
        ([("B", "K"), ()], ("B", "K")),
        ([("B", "K"), ("K",)], ("B", "K")),
        ([("B", "K"), ("B", "T")], None),
        ([("B", None), ("B", "K")], None),
        ([None, ("B",)], None),
    ],
)
def test_shapes_that_broadcast(shapes, together):
    assert simplify._together(shapes) == together
