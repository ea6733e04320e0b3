"""The derivatives of matrix products written out by hand, against those that JAX derives."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import builders
from dienjax.models import DIEN, DIN, layers, recurrent
from dienjax.models.matmul import by_column, by_row, einsum
from dienjax.training.losses import LossConfig, total_loss
from variants import VARIANTS, train, variables

BATCH = builders.make_batch()


def plain_row(x, kernel, dtype="float32"):
    return jnp.tensordot(x, kernel, 1)


def plain_column(kernel, x, dtype="float32"):
    return jnp.tensordot(kernel, x, (0, 0))


SIDES = {"row": (by_row, plain_row), "column": (by_column, plain_column)}


def operands(side, *axes, seed=0):
    rng = np.random.default_rng(seed)
    x_shape = (*axes, 3) if side == "row" else (3, *axes)
    x, kernel = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in (x_shape, (3, 6)))
    return (x, kernel) if side == "row" else (kernel, x)


def loss(product):
    return lambda *operands: jnp.sum(jnp.sin(product(*operands)))


def compiled(f, *arguments):
    return jax.jit(f, compiler_options=builders.FAST_COMPILE)(*arguments)


def assert_same(got, expected, atol=1e-5):
    def compare(a, b):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, atol=atol)

    jax.tree.map(compare, got, expected)


def forward_over_reverse(f, x, tangent):
    return jax.jvp(jax.grad(f), (x,), (tangent,))[1]


def reverse_over_forward(f, x, tangent):
    return jax.grad(lambda x: jax.jvp(f, (x,), (tangent,))[1])(x)


def reverse_over_reverse(f, x, tangent):
    return jax.vjp(jax.grad(f), x)[1](tangent)[0]


@pytest.mark.parametrize("axes", [(), (4,), (2, 5), (2, 1, 3), (0, 3)])
@pytest.mark.parametrize("side", SIDES)
def test_values_and_gradients(side, axes):
    arguments = operands(side, *axes)

    def value_and_gradients(product):
        return product(*arguments), jax.grad(loss(product), (0, 1))(*arguments)

    assert_same(*(compiled(partial(value_and_gradients, product)) for product in SIDES[side]))


@pytest.mark.parametrize("side", SIDES)
def test_forward_mode_and_second_derivatives(side):
    arguments, tangents = operands(side, 2, 2), operands(side, 2, 2, seed=1)

    def derivatives(product):
        def f(arguments):
            return loss(product)(*arguments)

        along_f = jax.linearize(f, arguments)[1]
        ways = (forward_over_reverse, reverse_over_forward, reverse_over_reverse)
        return (
            jax.jvp(product, arguments, tangents),
            along_f(tangents),
            jax.hessian(f)(arguments),
            [way(f, arguments, tangents) for way in ways],
        )

    assert_same(*(compiled(partial(derivatives, product)) for product in SIDES[side]))


@pytest.mark.parametrize("side", SIDES)
def test_a_compiled_gradient_copies_no_operand(side):
    """Of the arrays [20, 50, ...] none is transposed or copied; the product that JAX differentiates has several."""
    arguments = operands(side, 20, 50)

    def copies(product):
        program = jax.jit(jax.grad(loss(product), (0, 1))).lower(*arguments).compile().as_text()
        return re.findall(r"f32\[[\d,]*\b(?:50|1000)\b\S* (?:transpose|copy)\(", program)

    ours, plain = map(copies, SIDES[side])
    assert plain and not ours


@pytest.mark.parametrize("side", SIDES)
def test_many_at_once_in_a_checkpointed_scan(side):
    arguments = operands(side, 2, 2)

    def gradients(product):
        def total(scale, arguments):
            @jax.checkpoint
            def step(state, x):
                return jnp.sin(state + jnp.sum(product(*jax.tree.map(lambda a: a * x, arguments)))), None

            return jax.lax.scan(step, scale, jnp.arange(3.0))[0]

        return jax.vmap(jax.grad(total, (0, 1)), (0, None))(jnp.ones(2), arguments)

    assert_same(*(compiled(partial(gradients, product)) for product in SIDES[side]))


@pytest.mark.parametrize(("side", "specs"), [("row", ("b, k, 3", "3, 6")), ("column", ("3, 6", "3, b, k"))])
def test_gradients_export_with_symbolic_shapes(side, specs):
    arguments = operands(side, 2, 5)
    ours, plain = (jax.jit(jax.grad(loss(product), (0, 1))) for product in SIDES[side])
    exported = export.export(ours)(*export.symbolic_args_specs(arguments, specs))
    assert_same(exported.call(*arguments), plain(*arguments))


@pytest.mark.parametrize("dtypes", [("float32", "bfloat16"), ("bfloat16", "float32"), ("int32", "float32")])
@pytest.mark.parametrize("side", SIDES)
def test_gradients_have_the_dtypes_of_their_operands(side, dtypes):
    arguments = tuple(a.astype(d) for a, d in zip(operands(side, 2, 5), dtypes, strict=True))
    floats = tuple(i for i, d in enumerate(dtypes) if d != "int32")
    assert_same(*(jax.grad(loss(product), floats)(*arguments) for product in SIDES[side]), atol=0.05)


def rounded(x):
    """To bfloat16, as float64."""
    return np.asarray(x, np.float32).astype(jnp.bfloat16).astype(np.float64)


EINSUMS = ["bkt,bth->bkh", "bkh,bth->bkt"]
"""Attention's weighted sum, and its bilinear score."""
IN_BFLOAT16 = {
    "row": (partial(by_row, dtype="bfloat16"), "btf,fg->btg"),
    "column": (partial(by_column, dtype="bfloat16"), "fg,fbt->gbt"),
    **{equation: (partial(einsum, equation, dtype="bfloat16"), equation) for equation in EINSUMS},
}


@pytest.fixture(params=IN_BFLOAT16)
def in_bfloat16(request):
    """The product, its equation, and two operands."""
    product, equation = IN_BFLOAT16[request.param]
    sizes, rng = {"b": 2, "t": 5, "k": 3, "f": 4, "g": 6, "h": 4}, np.random.default_rng(0)
    shapes = [[sizes[axis] for axis in axes] for axes in equation.partition("->")[0].split(",")]
    return product, equation, [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def test_in_bfloat16_the_factors_are_rounded_and_no_sum_or_result(in_bfloat16):
    """Those of the gradient too, of which one is the cotangent."""
    product, equation, (a, b) = in_bfloat16
    out = compiled(product, a, b)
    np.testing.assert_allclose(out, np.einsum(equation, rounded(a), rounded(b)), atol=1e-6)
    assert np.abs(out - np.einsum(equation, a, b)).max() > 1e-4, "not what float32 gives"
    sides, axes = equation.split("->")
    of_a, of_b = sides.split(",")
    cotangent = rounded(np.cos(out))
    got = compiled(jax.grad(loss(product), (0, 1)), a, b)
    exact = (
        np.einsum(f"{axes},{of_b}->{of_a}", cotangent, rounded(b)),
        np.einsum(f"{axes},{of_a}->{of_b}", cotangent, rounded(a)),
    )
    assert_same(got, tuple(jnp.asarray(e, jnp.float32) for e in exact))


def test_in_bfloat16_other_derivatives_are_near_those_of_float32(in_bfloat16):
    """Forward mode, second derivatives, many at once."""
    product, equation, operands = in_bfloat16
    tangents = jax.tree.map(jnp.cos, operands)

    def derivatives(product):
        def f(operands):
            return loss(product)(*operands)

        ways = (forward_over_reverse, reverse_over_forward, reverse_over_reverse)
        many = jax.vmap(jax.grad(lambda scale: f([a * scale for a in operands])))(jnp.array([0.1, 0.3]))
        return jax.jvp(product, operands, tangents), [way(f, operands, tangents) for way in ways], many

    def compare(got, exact):
        assert got.dtype == jnp.float32
        assert 0 < np.linalg.norm(got - exact) < 0.03 * np.linalg.norm(exact)

    jax.tree.map(compare, *(compiled(partial(derivatives, p)) for p in (product, partial(jnp.einsum, equation))))


def test_float64_stays_float64():
    with jax.enable_x64(True):
        x, kernel = np.random.default_rng(0).normal(size=(2, 4, 4))
        for product in (by_row, by_column, partial(einsum, "bf,fg->bg")):
            exact = kernel.T @ x if product is by_column else x @ kernel
            arguments = (kernel, x) if product is by_column else (x, kernel)
            np.testing.assert_allclose(product(*map(jnp.asarray, arguments)), exact, rtol=1e-14)


MODELS = {
    "DIN": DIN(builders.SCHEMA, attention_hidden=(3,), tower=()),
    "DIEN": DIEN(builders.SCHEMA, attention_hidden=(3,), attention_activation="tanh", tower=()),
}


@pytest.mark.parametrize("name", MODELS)
def test_hessian_vector_products_of_a_model(name, monkeypatch):
    """In everything that `net` is differentiable in: the parameters, and what is embedded."""
    model, batch = MODELS[name], builders.make_batch((1, 4), negatives=False)
    params = builders.random_variables(model, batch)
    e = model.apply(params, batch, method="embed")
    point = params, e.replace(mask_BT=None, mask_BK=None)
    tangent = jax.tree.map(jnp.cos, point)

    def f(point):
        embedded = point[1].replace(mask_BT=e.mask_BT, mask_BK=e.mask_BK)
        return jnp.sum(jnp.sin(model.apply(point[0], embedded, method="net").logit_BK))

    ours = compiled(lambda: [way(f, point, tangent) for way in (forward_over_reverse, reverse_over_forward)])
    monkeypatch.setattr(layers, "by_row", plain_row)
    monkeypatch.setattr(recurrent, "by_column", plain_column)
    plain = compiled(lambda: forward_over_reverse(f, point, tangent))
    assert_same(ours, [plain, plain], atol=1e-4)


def test_bfloat16_parameters_of_a_dien_have_bfloat16_gradients():
    name = "DIEN AUGRU author"
    params = jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), variables(name)["params"])

    def objective(params):
        output, _ = VARIANTS[name].apply(variables(name) | {"params": params}, BATCH, train=True, mutable="batch_stats")
        return total_loss(output, BATCH, params, LossConfig())[0]

    def compare(got, exact):
        assert got.dtype == jnp.bfloat16
        np.testing.assert_allclose(got.astype(jnp.float32), exact, atol=0.05)

    jax.tree.map(compare, compiled(jax.grad(objective), params), train(name, BATCH)[0])
