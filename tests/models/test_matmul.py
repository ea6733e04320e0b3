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
from dienjax.models.matmul import by_column, by_row
from dienjax.training.losses import LossConfig, total_loss
from variants import VARIANTS, train, variables

BATCH = builders.make_batch()


def plain_row(x, kernel):
    return jnp.tensordot(x, kernel, 1)


def plain_column(kernel, x):
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
