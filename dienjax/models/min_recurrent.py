"""Recurrences whose gates read the input alone: minGRU (Feng et al. 2024, arXiv 2410.01201, 3.1), and minAUGRU.

    u_t = σ(W_u·x_t + b_u)    h̃_t = tanh(W_h·x_t + b_h)    h_t = (1 − û_t)·h_{t−1} + û_t·h̃_t

A minGRU has û = u (Feng et al. leave out the tanh); a minAUGRU makes û of u and an attention score a, as an AUGRU does:
a·u, or the authors' form. No gate reads the state, so u and h̃ are computed once for all candidates, and a step of a
candidate is a few elementwise operations. As h_t is linear in h_{t−1}, the steps need not wait for each other: a CPU
takes them one by one, an accelerator in parallel.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
from flax import linen as nn

from dienjax.models.layers import Dense
from dienjax.models.matmul import Dtype
from dienjax.models.recurrent import Gate, augru_gate, augru_gate_author, gru_step

Scaled: TypeAlias = Callable[[jax.Array, jax.Array | None], jax.Array]
"""(u, a or None) -> û."""

States: TypeAlias = tuple[jax.Array, jax.Array]
"""The last state [H, K, B], and all states [T, H, K, B]."""


class MinRecurrence(nn.Module):
    """The recurrence from a zero state, called as `dienjax.models.recurrent.Recurrence`: padded steps keep the state.

    With scores it is a minAUGRU with a gate of the form `gate`, without them a minGRU.
    """

    features: int
    gate: Gate = "paper"
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, input_BTI: jax.Array, mask_BT: jax.Array, score_BKT: jax.Array | None = None) -> jax.Array:
        """Without scores: the states of every step, [B, T, H]. With scores: the last real state, [B, K, H]."""
        gates_TGB = Dense(2 * self.features, dtype=self.dtype, name="gates")(input_BTI).transpose(1, 2, 0)
        update_TH1B, candidate_TH1B = jnp.split(gates_TGB[:, :, None], 2, axis=1)
        # With u = a = 0 both forms of û are 0: the mask need not be in the loop.
        update_TH1B = jnp.where(mask_BT.T[:, None, None], nn.sigmoid(update_TH1B), 0)
        score_T1KB = None
        if score_BKT is not None:
            score_T1KB = jnp.where(mask_BT[:, None], score_BKT, 0).transpose(2, 1, 0)[:, None]
        scaled = partial(_scaled, self.gate)
        last_HKB, state_THKB = states(scaled, update_TH1B, nn.tanh(candidate_TH1B), score_T1KB)
        self.sow("intermediates", "gate_THKB", scaled(update_TH1B, score_T1KB))
        self.sow("intermediates", "state_THKB", state_THKB)
        if score_BKT is None:
            return jnp.where(mask_BT[:, :, None], state_THKB[:, :, 0].transpose(2, 0, 1), 0)
        return last_HKB.transpose(2, 1, 0)


def _scaled(gate: Gate, update: jax.Array, score: jax.Array | None) -> jax.Array:
    if score is None:
        return update
    return (augru_gate if gate == "paper" else augru_gate_author)(update, score)


def states(scaled: Scaled, update_TH1B: jax.Array, candidate_TH1B: jax.Array, score_T1KB: jax.Array | None) -> States:
    """The states from 0 on, by the form that suits the platform; in an export, where T is symbolic, one by one."""
    arrays = update_TH1B, candidate_TH1B, score_T1KB
    if not isinstance(update_TH1B.shape[0], int):
        return one_by_one(scaled, *arrays)
    cpu, default = (partial(form, scaled) for form in (one_by_one, in_parallel))
    return jax.lax.platform_dependent(*arrays, cpu=cpu, default=default)


def one_by_one(
    scaled: Scaled, update_TH1B: jax.Array, candidate_TH1B: jax.Array, score_T1KB: jax.Array | None
) -> States:
    """A scan that keeps the states alone for its gradient: to make û again takes less time than to read it."""

    def step(state: jax.Array, now: tuple[jax.Array, jax.Array, jax.Array | None]) -> tuple[jax.Array, jax.Array]:
        update, candidate, score = now
        new = gru_step(state, scaled(update, score), candidate)
        return new, new

    _, H, _, B = update_TH1B.shape
    K = 1 if score_T1KB is None else score_T1KB.shape[2]
    initial_HKB = jnp.zeros((H, K, B), update_TH1B.dtype)
    step = jax.checkpoint(step, prevent_cse=False)
    return jax.lax.scan(step, initial_HKB, (update_TH1B, candidate_TH1B, score_T1KB))


def in_parallel(
    scaled: Scaled, update_TH1B: jax.Array, candidate_TH1B: jax.Array, score_T1KB: jax.Array | None
) -> States:
    """In ⌈log₂ T⌉ rounds over all steps."""
    gate_THKB = scaled(update_TH1B, score_T1KB)
    state_THKB = linear_recurrence(1 - gate_THKB, gate_THKB * candidate_TH1B)
    return state_THKB[-1], state_THKB


@jax.custom_jvp
def linear_recurrence(keep: jax.Array, write: jax.Array) -> jax.Array:
    """h_t = keep_t·h_{t−1} + write_t along the first axis, from h = 0: the states of every step."""

    def join(first: tuple[jax.Array, jax.Array], then: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return first[0] * then[0], first[1] * then[0] + then[1]

    return jax.lax.associative_scan(join, (keep, write))[1]


@linear_recurrence.defjvp
def _derivative(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    """dh_t = keep_t·dh_{t−1} + (dkeep_t·h_{t−1} + dwrite_t): the same recurrence, and no division by what is kept."""
    keep, write = primals
    d_keep, d_write = tangents
    state = linear_recurrence(keep, write)
    before = jnp.concatenate([jnp.zeros_like(state[:1]), state[:-1]])
    return state, linear_recurrence(keep, d_keep * before + d_write)
