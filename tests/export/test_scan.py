"""A Loop of jax2onnx becomes a Scan that gives the same numbers."""

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnx_ir")
pytest.importorskip("onnxruntime")

from onnx_text import operators, random, run, simplified

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
