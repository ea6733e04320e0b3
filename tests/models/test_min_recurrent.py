"""Recurrences whose gates read the input alone, against loop oracles; their two forms, and their derivatives."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import builders
from dienjax.models import DIEN
from dienjax.models.min_recurrent import MinRecurrence, in_parallel, linear_recurrence, one_by_one, states
from dienjax.models.recurrent import augru_gate, augru_gate_author
from reference import recurrences as oracle

B, T, K, E, H = 5, 4, 3, 3, 2
rng = np.random.default_rng(0)
INPUT_BTE = rng.normal(size=(B, T, E)).astype(np.float32)
MASK_BT = np.arange(T) < np.array([0, 1, 4, 2, 3])[:, None]
SCORE_BKT = rng.uniform(0, 1, (B, K, T)).astype(np.float32)
GATES = ("paper", "author")
SCALED = {"minGRU": lambda update, score: update, "author": augru_gate_author}
FORMS = (one_by_one, in_parallel)


def build(gate="paper", score_BKT=None, **options):
    module = MinRecurrence(H, gate, **options)
    return module, builders.random_variables(module, INPUT_BTE, MASK_BT, score_BKT)


@pytest.mark.parametrize("mask_BT", [MASK_BT, MASK_BT | True, MASK_BT & False], ids=["ragged", "full", "all padding"])
def test_states_of_every_step(mask_BT):
    module, variables = build()
    state_BTH = builders.apply(module, variables, INPUT_BTE, mask_BT)
    for b in range(B):
        expected = oracle.states(variables["params"], "minGRU", "paper", INPUT_BTE[b], mask_BT[b])
        np.testing.assert_allclose(state_BTH[b], expected * mask_BT[b][:, None], atol=1e-6)
    assert (np.asarray(state_BTH)[~mask_BT] == 0).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("gate", GATES)
def test_last_state_for_every_candidate(gate, dtype):
    """In bfloat16 the factors of the gates' product are rounded, and nothing else."""
    module, variables = build(gate, SCORE_BKT, dtype=dtype)
    factor = np.asarray if dtype == "float32" else lambda x: np.asarray(jnp.asarray(x, jnp.bfloat16), np.float64)
    state_BKH = builders.apply(module, variables, INPUT_BTE, MASK_BT, SCORE_BKT)
    for b in range(B):
        for k in range(K):
            row = INPUT_BTE[b], MASK_BT[b], SCORE_BKT[b, k]
            expected = oracle.states(variables["params"], "minAUGRU", gate, *row, factor=factor)[-1]
            np.testing.assert_allclose(state_BKH[b, k], expected, atol=1e-6)
    assert (np.asarray(state_BKH[0]) == 0).all()


@pytest.mark.parametrize("gate", GATES)
def test_a_padded_step_is_as_good_as_absent_wherever_it_stands(gate):
    module, variables = build(gate, SCORE_BKT)
    holes = np.array([True, False, True, False])
    garbage_BTE = np.where(holes[:, None], INPUT_BTE, np.float32(1e4))
    packed = builders.apply(module, variables, INPUT_BTE[:, holes], np.ones((B, 2), bool), SCORE_BKT[..., holes])
    holed = builders.apply(module, variables, garbage_BTE, np.broadcast_to(holes, (B, T)), SCORE_BKT)
    np.testing.assert_allclose(holed, packed, atol=1e-6)


@pytest.mark.parametrize("gate", GATES)
def test_padding_gets_no_gradient_and_empty_histories_give_none(gate):
    module, variables = build(gate, SCORE_BKT)

    def loss(variables, input_BTE, score_BKT):
        return jnp.sum(jnp.sin(1 + module.apply(variables, input_BTE, MASK_BT, score_BKT)))

    grads, *others = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(variables, INPUT_BTE, SCORE_BKT)
    input_grad, score_grad = map(np.asarray, others)
    assert (input_grad[~MASK_BT] == 0).all() and (input_grad[MASK_BT] != 0).all()
    assert (score_grad[np.repeat(~MASK_BT[:, None], K, axis=1)] == 0).all()
    assert all(np.isfinite(g).all() and (g != 0).any() for g in jax.tree.leaves(grads))


def test_gates_and_states_can_be_asked_for():
    module, variables = build("author", SCORE_BKT)
    last_BKH, found = module.apply(variables, INPUT_BTE, MASK_BT, SCORE_BKT, mutable=["intermediates"])
    (gate_THKB,), (state_THKB,) = found["intermediates"]["gate_THKB"], found["intermediates"]["state_THKB"]
    assert gate_THKB.shape == state_THKB.shape == (T, H, K, B)
    np.testing.assert_array_equal(state_THKB[-1].transpose(2, 1, 0), last_BKH)
    assert not np.asarray(gate_THKB)[np.broadcast_to(~MASK_BT.T[:, None, None], (T, H, K, B))].any()


def arrays(scaled, steps=7, dtype=np.float32):
    """û of the second step is 1 throughout, and of the third 0."""
    rng = np.random.default_rng(1)
    update_TH1B, candidate_TH1B = rng.uniform(0, 1, (steps, H, 1, B)), rng.uniform(-1, 1, (steps, H, 1, B))
    score_T1KB = rng.uniform(0, 1, (steps, 1, K, B))
    update_TH1B[1:2], score_T1KB[1:2], update_TH1B[2:3], score_T1KB[2:3] = 1, 1, 0, 0
    given = update_TH1B, candidate_TH1B, None if scaled == "minGRU" else score_T1KB
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), given)


def by_hand(scaled, update_TH1B, candidate_TH1B, score_T1KB):
    """The recurrence as a plain loop that JAX differentiates."""
    K = 1 if score_T1KB is None else score_T1KB.shape[2]
    state_HKB, out = jnp.zeros((H, K, B), update_TH1B.dtype), []
    for t in range(len(update_TH1B)):
        gate = scaled(update_TH1B[t], None if score_T1KB is None else score_T1KB[t])
        state_HKB = (1 - gate) * state_HKB + gate * candidate_TH1B[t]
        out.append(state_HKB)
    return state_HKB, jnp.stack(out)


def derivatives(form, scaled, given):
    """Gradient of a number made of the last state and all of them, a Hessian-vector product, and these states."""

    def number(given):
        last_HKB, state_THKB = form(SCALED[scaled], *given)
        return jnp.sum(jnp.sin(1 + last_HKB)) + jnp.sum(jnp.cos(state_THKB)), (last_HKB, state_THKB)

    def all_of(given):
        return jax.jvp(jax.grad(number, has_aux=True), (given,), (given,), has_aux=True)

    return jax.jit(all_of, compiler_options=builders.FAST_COMPILE)(given)


@pytest.mark.parametrize("scaled", ["minGRU", "author"])
def test_both_forms_and_their_derivatives_are_those_of_a_plain_loop(scaled):
    """To 1e-12 in float64: also where a step replaces the state, as a division by what it keeps could not."""
    with jax.enable_x64(True):
        given = arrays(scaled, dtype=np.float64)
        want = derivatives(by_hand, scaled, given)
        assert all(np.isfinite(x).all() and x.any() for x in jax.tree.leaves(want))
        for form in (*FORMS, states):
            got = derivatives(form, scaled, given)
            jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=1e-12), got, want)


@pytest.mark.parametrize("steps", [1, 50])
def test_both_forms_agree_in_float32(steps):
    given = jax.tree.map(lambda x: x[:steps], arrays("paper", max(steps, 3)))
    both = [jax.jit(partial(form, augru_gate), compiler_options=builders.FAST_COMPILE)(*given) for form in FORMS]
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=1e-6), *both)


@pytest.mark.parametrize("gate", GATES)
def test_one_event_with_all_the_attention_and_a_saturated_gate(gate):
    """Softmax gives a single event 1: with u = 1 the state is h̃ and its gradient that of h̃, exactly."""
    module = MinRecurrence(H, gate)
    params = builders.random_variables(module, INPUT_BTE[:1, :1], MASK_BT[2:3, :1], SCORE_BKT[:1, :1, :1])["params"]
    kernel, bias = params["gates"]["kernel"], params["gates"]["bias"].copy()
    bias[:H] = 100.0

    def state(input_BTE):
        variables = {"params": {"gates": {"kernel": kernel, "bias": bias}}}
        return module.apply(variables, input_BTE, np.ones((1, 1), bool), jnp.ones((1, 1, 1)))[0, 0]

    def candidate(input_BTE):
        return jnp.tanh(input_BTE[0, 0] @ kernel[:, H:] + bias[H:])

    x = INPUT_BTE[:1, :1]
    got, want = (jax.jit(lambda x, f=f: (f(x), jax.jacrev(f)(x)))(x) for f in (state, candidate))
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), got, want)


def test_linear_recurrence_by_hand():
    keep_T, write_T = jnp.array([0.5, 0.0, 1.0, 0.25]), jnp.array([1.0, 2.0, 3.0, -1.0])
    np.testing.assert_array_equal(linear_recurrence(keep_T, write_T), [1, 2, 5, 0.25])
    grad = jax.jit(jax.grad(lambda keep, write: linear_recurrence(keep, write)[-1], argnums=(0, 1)))
    np.testing.assert_array_equal(grad(keep_T, write_T), [[0, 0.25, 0.5, 5], [0, 0.25, 0.25, 1]])


def test_parameters():
    params = jax.eval_shape(MinRecurrence(4).init, jax.random.key(0), INPUT_BTE, MASK_BT)["params"]
    assert jax.tree.map(lambda x: x.shape, params) == {"gates": {"kernel": (E, 8), "bias": (8,)}}


def test_no_cell_is_chosen_that_nothing_has():
    DIEN(builders.SCHEMA, kind="minAUGRU", cell="author")
    DIEN(builders.SCHEMA, extractor="minGRU", cell="author")
    with pytest.raises(ValueError, match=r'DIEN: cell="author" with extractor="minGRU".*expected cell="linen"'):
        DIEN(builders.SCHEMA, kind="minAUGRU", extractor="minGRU", cell="author")
