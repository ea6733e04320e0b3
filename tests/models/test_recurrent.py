"""The cells and their masked scan against loop oracles, Linen's GRUCell, and the identities between the kinds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import builders
from dienjax.models import recurrent
from dienjax.models.recurrent import Recurrence
from reference import recurrences as oracle

B, T, K, E, H = 5, 4, 3, 3, 2
KINDS = {
    "GRU": ("GRU", "paper"),
    "AIGRU": ("AIGRU", "paper"),
    "AGRU": ("AGRU", "paper"),
    "AUGRU": ("AUGRU", "paper"),
    "AUGRU author": ("AUGRU", "author"),
}
ATTENTIONAL = [name for name in KINDS if name != "GRU"]

rng = np.random.default_rng(0)
INPUT_BTE = rng.normal(size=(B, T, E)).astype(np.float32)
MASK_BT = np.arange(T) < np.array([0, 1, 4, 2, 3])[:, None]
SCORE_BKT = rng.uniform(-0.2, 1.2, (B, K, T)).astype(np.float32)
ONES_BKT = np.ones((B, K, T), np.float32)


def build(name, score_BKT=None):
    module = Recurrence(H, *KINDS[name])
    return module, builders.random_variables(module, INPUT_BTE, MASK_BT, score_BKT)


def last_real(state_BTH):
    """The state at the last real step of each row, 0 for an empty one."""
    return np.array(
        [row[mask][-1] if mask.any() else np.zeros(H) for row, mask in zip(state_BTH, MASK_BT, strict=True)]
    )


def per_candidate(state_BH):
    return np.repeat(state_BH[:, None], K, axis=1)


def test_gru_states_of_every_step():
    module, variables = build("GRU")
    state_BTH = builders.apply(module, variables, INPUT_BTE, MASK_BT)
    for b in range(B):
        expected = oracle.states(variables["params"], *KINDS["GRU"], INPUT_BTE[b], MASK_BT[b])
        np.testing.assert_allclose(state_BTH[b], expected * MASK_BT[b][:, None], atol=1e-6)
    assert (np.asarray(state_BTH)[~MASK_BT] == 0).all()


@pytest.mark.parametrize("name", ATTENTIONAL)
def test_last_state_for_every_candidate(name):
    module, variables = build(name, SCORE_BKT)
    state_BKH = builders.apply(module, variables, INPUT_BTE, MASK_BT, SCORE_BKT)
    assert state_BKH.shape == (B, K, H)
    for b in range(B):
        for k in range(K):
            states = oracle.states(variables["params"], *KINDS[name], INPUT_BTE[b], MASK_BT[b], SCORE_BKT[b, k])
            np.testing.assert_allclose(state_BKH[b, k], states[-1], atol=1e-6)
    assert (np.asarray(state_BKH[0]) == 0).all()


@pytest.mark.parametrize("name", KINDS)
def test_a_padded_step_is_as_good_as_absent_wherever_it_stands(name):
    score = None if name == "GRU" else SCORE_BKT
    module, variables = build(name, score)
    holes = np.array([True, False, True, False])
    garbage_BTE = np.where(holes[:, None], INPUT_BTE, np.float32(1e4))
    packed_score = None if score is None else score[..., holes]
    packed = builders.apply(module, variables, INPUT_BTE[:, holes], np.ones((B, 2), bool), packed_score)
    holed = builders.apply(module, variables, garbage_BTE, np.broadcast_to(holes, (B, T)), score)
    np.testing.assert_allclose(holed[:, holes] if score is None else holed, packed, atol=1e-6)


@pytest.mark.parametrize("name", KINDS)
def test_padding_gets_no_gradient_and_empty_histories_give_none(name):
    score = None if name == "GRU" else SCORE_BKT
    module, variables = build(name, score)

    def loss(variables, input_BTE, score):
        return jnp.sum(jnp.sin(1 + module.apply(variables, input_BTE, MASK_BT, score)))

    grads, input_grad, score_grad = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(variables, INPUT_BTE, score)
    assert (np.asarray(input_grad)[~MASK_BT] == 0).all()
    assert (np.asarray(input_grad)[MASK_BT] != 0).all()
    assert score is None or (np.asarray(score_grad)[~per_candidate(MASK_BT)] == 0).all()
    assert all(np.isfinite(g).all() and (g != 0).any() for g in jax.tree.leaves(grads))


def test_augru_with_full_attention_is_a_gru():
    gru, variables = build("GRU")
    expected = per_candidate(last_real(builders.apply(gru, variables, INPUT_BTE, MASK_BT)))
    augru, _ = build("AUGRU", ONES_BKT)
    np.testing.assert_allclose(builders.apply(augru, variables, INPUT_BTE, MASK_BT, ONES_BKT), expected, atol=1e-6)


def test_augru_without_attention_keeps_the_initial_state():
    augru, variables = build("AUGRU", ONES_BKT)
    assert (np.asarray(builders.apply(augru, variables, INPUT_BTE, MASK_BT, 0 * ONES_BKT)) == 0).all()


def test_author_augru_without_attention_is_a_gru():
    gru, variables = build("GRU")
    expected = per_candidate(last_real(builders.apply(gru, variables, INPUT_BTE, MASK_BT)))
    author, _ = build("AUGRU author", ONES_BKT)
    np.testing.assert_allclose(builders.apply(author, variables, INPUT_BTE, MASK_BT, 0 * ONES_BKT), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["AGRU", "AUGRU author"])
def test_full_attention_replaces_the_state_by_the_candidate(name):
    """With scores 1 the state after a step is h̃ of the state before it."""
    module, variables = build(name, ONES_BKT)
    state_BKH = builders.apply(module, variables, INPUT_BTE, MASK_BT, ONES_BKT)
    gates = oracle.Gates(variables["params"], KINDS[name][0])
    for b in range(B):
        h = np.zeros(H)
        for t in range(MASK_BT[b].sum()):
            h = gates.candidate(INPUT_BTE[b, t].astype(np.float64), h)
        np.testing.assert_allclose(state_BKH[b], np.broadcast_to(h, (K, H)), atol=1e-6)


def test_aigru_without_attention_sees_only_its_biases():
    aigru, variables = build("AIGRU", ONES_BKT)
    gru, _ = build("GRU")
    expected = per_candidate(last_real(builders.apply(gru, variables, 0 * INPUT_BTE, MASK_BT)))
    np.testing.assert_allclose(builders.apply(aigru, variables, INPUT_BTE, MASK_BT, 0 * ONES_BKT), expected, atol=1e-6)


STATE, UPDATE, CANDIDATE, SCORE = 2.0, 0.25, -2.0, 0.5
GATES = {
    "agru_gate": SCORE,
    "augru_gate": 0.125,  # û = 0.5·0.25
    "augru_gate_author": 0.625,  # 1 − 0.5·0.75
}


@pytest.mark.parametrize("name", GATES)
def test_gates_by_hand(name):
    assert getattr(recurrent, name)(UPDATE, SCORE) == GATES[name]


def test_gru_step_by_hand():
    assert recurrent.gru_step(STATE, UPDATE, CANDIDATE) == 0.75 * 2 - 0.25 * 2


def test_gru_equals_linens_cell_with_the_update_gate_negated():
    """Linen's z keeps where u writes: σ(−x) = 1 − σ(x) makes them equal."""
    module, variables = build("GRU")
    params = variables["params"]
    stacked = params["cell"]["input_kernel"], params["cell"]["kernel"], params["cell"]["bias"]
    (W_r, W_u, W_n), (U_r, U_u, U_n), (b_r, b_u, b_n) = (np.split(a, 3, axis=-1) for a in stacked)
    linen = {
        "ir": {"kernel": W_r, "bias": b_r},
        "iz": {"kernel": -W_u, "bias": -b_u},
        "in": {"kernel": W_n, "bias": b_n},
        "hr": {"kernel": U_r},
        "hz": {"kernel": -U_u},
        "hn": {"kernel": U_n, "bias": params["cell"]["candidate_bias"]},
    }
    state_BTH = builders.apply(module, variables, INPUT_BTE, np.ones((B, T), bool))
    h, cell = jnp.zeros((B, H)), nn.GRUCell(H)
    with jax.numpy_rank_promotion("allow"):  # Linen adds its biases by broadcasting
        for t in range(T):
            h, _ = builders.apply(cell, {"params": linen}, h, INPUT_BTE[:, t])
            np.testing.assert_allclose(state_BTH[:, t], h, atol=1e-6)


@pytest.mark.parametrize(("name", "gates"), [("GRU", 3), ("AIGRU", 3), ("AGRU", 2), ("AUGRU", 3)])
def test_parameters(name, gates):
    module = Recurrence(4, *KINDS[name])
    score = None if name == "GRU" else SCORE_BKT
    params = jax.eval_shape(module.init, jax.random.key(0), INPUT_BTE, MASK_BT, score)["params"]
    assert jax.tree.map(lambda a: a.shape, params) == {
        "cell": {
            "input_kernel": (E, gates * 4),
            "kernel": (4, gates * 4),
            "bias": (gates * 4,),
            "candidate_bias": (4,),
        },
    }


def test_recurrent_kernels_start_orthogonal_gate_by_gate_and_biases_at_0():
    cell = jax.jit(Recurrence(4).init)(jax.random.key(0), INPUT_BTE, MASK_BT)["params"]["cell"]
    assert not cell["bias"].any() and not cell["candidate_bias"].any()
    gates = np.split(cell["kernel"], 3, axis=1)
    for recurrent_HH in gates:
        np.testing.assert_allclose(recurrent_HH @ recurrent_HH.T, np.eye(4), atol=1e-5)
    assert not np.allclose(gates[0], gates[1])


def test_a_step_function_of_ones_own():
    """The same formula gives the same states, padded steps are absent for one that never rests, and u is the gate."""
    module, variables = build("AUGRU", SCORE_BKT)

    def augru(state, update, candidate, score):
        return (1 - score * update) * state + score * update * candidate

    def restless(state, update, candidate, score):
        return augru(state, update, candidate, score) + 1

    expected = builders.apply(module, variables, INPUT_BTE, MASK_BT, SCORE_BKT)
    own = Recurrence(H, step=augru)
    np.testing.assert_allclose(own.apply(variables, INPUT_BTE, MASK_BT, SCORE_BKT), expected, atol=1e-6)
    last_BKH = Recurrence(H, step=restless).apply(variables, INPUT_BTE, MASK_BT, SCORE_BKT)
    assert (last_BKH[0] == 0).all()
    for b in range(1, B):
        n = MASK_BT[b].sum()
        short = slice(b, b + 1), slice(0, n)
        alone = Recurrence(H, step=restless).apply(
            variables, INPUT_BTE[short], MASK_BT[short], SCORE_BKT[b : b + 1, :, :n]
        )
        np.testing.assert_allclose(last_BKH[b], alone[0], atol=1e-6)


@pytest.mark.parametrize("name", ATTENTIONAL)
def test_gates_and_states_can_be_asked_for(name):
    """h' = (1 − g)·h + g·h̃ with the gate that is told; what is not asked for is not computed."""
    module, variables = build(name, SCORE_BKT)
    last_BKH, found = module.apply(variables, INPUT_BTE, MASK_BT, SCORE_BKT, mutable=["intermediates"])
    (gate_THKB,), (state_THKB,) = found["intermediates"]["cell"]["gate_THKB"], found["intermediates"]["state_THKB"]
    assert state_THKB.shape == (T, H, K, B)
    np.testing.assert_array_equal(state_THKB[-1].transpose(2, 1, 0), last_BKH)
    gate_THKB = np.broadcast_to(gate_THKB, (T, H, K, B))
    full = MASK_BT.all(axis=1)
    before = np.concatenate([np.zeros_like(state_THKB[:1]), state_THKB[:-1]])
    candidate = before + (state_THKB - before) / gate_THKB
    assert (np.abs(candidate[..., full]) <= 1 + 1e-4).all(), "the candidate state is a tanh"
    jaxpr = str(jax.make_jaxpr(module.apply)(variables, INPUT_BTE, MASK_BT, SCORE_BKT))
    asked = str(
        jax.make_jaxpr(lambda *a: module.apply(*a, mutable=["intermediates"]))(variables, INPUT_BTE, MASK_BT, SCORE_BKT)
    )
    assert len(jaxpr) < len(asked)
