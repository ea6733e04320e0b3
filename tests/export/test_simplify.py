"""Simplified graphs give the same numbers with fewer operators, whatever the sizes of their axes."""

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnx_ir")
pytest.importorskip("onnxruntime")

from onnx_text import operators, random, run, simplified

from dienjax.export import simplify

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
