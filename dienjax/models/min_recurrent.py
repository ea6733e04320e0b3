"""The recurrences without a sequence: minGRU (Feng et al. 2024, arXiv 2410.01201, eq. 8), and minAUGRU made of it.

    u_t = σ(W_u·x_t + b_u)    h̃_t = tanh(W_h·x_t + b_h)    h_t = (1 − û_t)·h_{t−1} + û_t·h̃_t

û is u, or, given an attention score a, what an AUGRU makes of both, such as a·u. No gate reads the state, as a GRU's do,
so a step has no matrix product; and as h_t is linear in h_{t−1}, the steps need not wait for each other. u and h̃ belong
to the history alone: all candidates share them.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from dienjax.models.layers import Dense
from dienjax.models.matmul import Dtype
from dienjax.models.recurrent import Gate, augru_gate, augru_gate_author


class MinRecurrence(nn.Module):
    """The recurrence from a zero state: padded steps keep the state."""

    features: int
    gate: Gate = "paper"
    dtype: Dtype = "float32"

    def setup(self) -> None:
        self.input = Dense(2 * self.features, dtype=self.dtype)

    def __call__(self, input_BTI: jax.Array, mask_BT: jax.Array) -> jax.Array:
        """The states of every step, [B, T, H]; 0 at padded steps."""
        state_THKB = self._states(self.gates(input_BTI), mask_BT, None)
        return jnp.where(mask_BT[:, :, None], state_THKB[:, :, 0].transpose(2, 0, 1), 0)

    def gates(self, input_BTI: jax.Array) -> jax.Array:
        """u and h̃ of every step side by side, [B, T, 2·H]."""
        update, candidate = jnp.split(self.input(input_BTI), 2, axis=-1)
        return jnp.concatenate([nn.sigmoid(update), nn.tanh(candidate)], axis=-1)

    def last(self, gates_BTG: jax.Array, mask_BT: jax.Array, score_BKT: jax.Array) -> jax.Array:
        """The last real state for the attention scores of each candidate, [B, K, H]."""
        return self._states(gates_BTG, mask_BT, score_BKT)[-1].transpose(2, 1, 0)

    def _states(self, gates_BTG: jax.Array, mask_BT: jax.Array, score_BKT: jax.Array | None) -> jax.Array:
        """-> state_THKB."""
        gate_THKB, candidate_THKB = jnp.split(gates_BTG.transpose(1, 2, 0)[:, :, None], 2, axis=1)
        if score_BKT is not None:
            scaled = augru_gate if self.gate == "paper" else augru_gate_author
            gate_THKB = scaled(gate_THKB, score_BKT.transpose(2, 1, 0)[:, None])
        gate_THKB = jnp.where(mask_BT.T[:, None, None], gate_THKB, 0)
        state_THKB = linear_recurrence(1 - gate_THKB, gate_THKB * candidate_THKB)
        self.sow("intermediates", "gate_THKB", gate_THKB)
        self.sow("intermediates", "state_THKB", state_THKB)
        return state_THKB


@jax.custom_jvp
def linear_recurrence(keep: jax.Array, write: jax.Array) -> jax.Array:
    """h_t = keep_t·h_{t−1} + write_t along the first axis, from h = 0: the states of every step."""
    return jax.lax.platform_dependent(keep, write, cpu=_one_by_one, default=_in_parallel)


@linear_recurrence.defjvp
def _derivative(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    """dh_t = keep_t·dh_{t−1} + (dkeep_t·h_{t−1} + dwrite_t): the same recurrence, and no division by what is kept."""
    keep, write = primals
    d_keep, d_write = tangents
    state = linear_recurrence(keep, write)
    before = jnp.concatenate([jnp.zeros_like(state[:1]), state[:-1]])
    return state, linear_recurrence(keep, d_keep * before + d_write)


def _one_by_one(keep: jax.Array, write: jax.Array) -> jax.Array:
    def step(state: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        keep, write = now
        state = keep * state + write
        return state, state

    return jax.lax.scan(step, jnp.zeros_like(write[0]), (keep, write))[1]


def _in_parallel(keep: jax.Array, write: jax.Array) -> jax.Array:
    """In ⌈log₂ T⌉ steps: two stretches of the recurrence, one after the other, are one."""

    def join(first: tuple[jax.Array, jax.Array], then: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return first[0] * then[0], first[1] * then[0] + then[1]

    return jax.lax.associative_scan(join, (keep, write))[1]
