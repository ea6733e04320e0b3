"""The recurrences of DIEN: GRU, AIGRU, AGRU and AUGRU steps, one cell for all, and the masked scan over it.

u is the paper's update gate, which *writes*: h' = (1 − u)·h + u·h̃ (DIEN, eq. 2-5). torch and Linen call 1 − u their
update gate z. The reset gate acts after the matmul, with a recurrent bias on the candidate, as in torch and Linen.
Cells with other biases, or the reset before the matmul, are named after their source (`Biases`).
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dienjax.layers import per_unit

Gate = Literal["paper", "author"]
Step = Literal["GRU", "AIGRU", "AGRU", "AUGRU"]
Biases = Literal["linen", "torch", "tied", "paper", "author"]
"""linen: one bias per gate, and one on the candidate's recurrent side. torch: two per gate (nn.GRU; AGRU then has an
update gate that nothing reads, as in deepctr-torch). tied: one tensor on both sides (deepctr-torch's AUGRU). paper: one
per gate (DIEN, eq. 2-4; torch-rechub's AUGRU). author: the same, with the reset before the matmul and gates that start
at 1 (the authors' TensorFlow cells)."""


def gru_step(state: jax.Array, update: jax.Array, candidate: jax.Array) -> jax.Array:
    """h' = (1 − u)·h + u·h̃ (DIEN, eq. 5)."""
    return state + update * (candidate - state)


def agru_step(state: jax.Array, score: jax.Array, candidate: jax.Array) -> jax.Array:
    """h' = (1 − a)·h + a·h̃ (DIEN, eq. 10): the attention score is the update gate."""
    return gru_step(state, score, candidate)


def augru_step(state: jax.Array, update: jax.Array, candidate: jax.Array, score: jax.Array) -> jax.Array:
    """h' = (1 − û)·h + û·h̃ with û = a·u (DIEN, eq. 11-12): a = 0 keeps the state. Also deepctr-torch, torch-rechub."""
    return gru_step(state, score * update, candidate)


def augru_step_author(state: jax.Array, update: jax.Array, candidate: jax.Array, score: jax.Array) -> jax.Array:
    """h' = k·h + (1 − k)·h̃ with k = (1 − a)·(1 − u): the authors' TensorFlow form, where a = 0 is a GRU step."""
    return gru_step(state, 1 - (1 - score) * (1 - update), candidate)


_zeros = nn.initializers.zeros


class Cell(nn.Module):
    """One step of the recurrence `step` from an input that is already projected to the gates r, u, h̃ (AGRU: r, h̃)."""

    features: int
    step: Step = "GRU"
    gate: Gate = "paper"
    biases: Biases = "linen"
    keep_states: bool = True

    @nn.compact
    def __call__(
        self, state: jax.Array, projected: jax.Array, score: Any, mask: jax.Array
    ) -> tuple[jax.Array, jax.Array | None]:
        """state [..., H], projected [..., G·H], score [..., 1], mask [..., 1] -> (new state, output or None)."""
        H, gates = self.features, gate_count(self.step, self.biases)
        kernel = self.param("kernel", _orthogonal_gates, (H, gates * H))
        bias = self.param("bias", self._initial_bias, (gates * H,))
        if self.step == "AIGRU":  # a·(h·W) = (a·h)·W (DIEN, eq. 9), so that all candidates share one projection
            projected = score * projected
        *gate_inputs, candidate_input = jnp.split(projected + per_unit(bias, projected), gates, axis=-1)
        gate_states, candidate_state = self._recurrent_side(state, kernel, bias)
        reset, *update = [nn.sigmoid(i + s) for i, s in zip(gate_inputs, gate_states, strict=True)]
        if self.biases == "author":
            candidate_state, reset = (reset * state) @ kernel[:, -H:], jnp.ones_like(reset)
        candidate = nn.tanh(candidate_input + reset * candidate_state)
        if self.step == "AGRU":
            new = agru_step(state, score, candidate)
        elif self.step == "AUGRU":
            new = (augru_step if self.gate == "paper" else augru_step_author)(state, update[0], candidate, score)
        else:
            new = gru_step(state, update[0], candidate)
        new = jnp.where(mask, new, state)
        return new, jnp.where(mask, new, 0) if self.keep_states else None

    def _recurrent_side(self, state: jax.Array, kernel: jax.Array, bias: jax.Array) -> tuple[list[jax.Array], Any]:
        """What the state adds to each gate, and to the candidate before its reset."""
        H = self.features
        if self.biases == "author":
            return jnp.split(state @ kernel[:, :-H], kernel.shape[1] // H - 1, axis=-1), None
        x = state @ kernel
        if self.biases in ("torch", "tied"):
            x += per_unit(bias if self.biases == "tied" else self.param("state_bias", _zeros, bias.shape), x)
        *gates, candidate = jnp.split(x, kernel.shape[1] // H, axis=-1)
        if self.biases == "linen":
            candidate += per_unit(self.param("candidate_bias", _zeros, (H,)), x)
        return gates, candidate

    def _initial_bias(self, key: jax.Array, shape: tuple[int]) -> jax.Array:
        return jnp.zeros(shape).at[: -self.features].set(1.0 if self.biases == "author" else 0.0)


def gate_count(step: Step, biases: Biases) -> int:
    """How many gates a cell's kernels have, the candidate included."""
    return 2 if step == "AGRU" and biases in ("linen", "paper", "author") else 3


def _orthogonal_gates(key: jax.Array, shape: tuple[int, int], dtype: type = jnp.float32) -> jax.Array:
    """An orthogonal matrix for each gate, side by side."""
    features, width = shape
    keys = jax.random.split(key, width // features)
    return jnp.concatenate([nn.initializers.orthogonal()(k, (features, features), dtype) for k in keys], axis=1)


class Recurrence(nn.Module):
    """The masked scan over a cell, from a zero state: padded steps keep the state and output 0.

    The input projection is one matmul before the scan, shared by all candidates.
    """

    features: int
    step: Step = "GRU"
    gate: Gate = "paper"
    biases: Biases = "linen"

    @nn.compact
    def __call__(self, input_BTI: jax.Array, mask_BT: jax.Array, score_BKT: jax.Array | None = None) -> jax.Array:
        """Without scores: the states of every step, [B, T, H]. With scores: the last real state, [B, K, H]."""
        gates = gate_count(self.step, self.biases)
        glorot = nn.initializers.glorot_uniform()
        projected_BTG = nn.Dense(gates * self.features, use_bias=False, kernel_init=glorot, name="input")(input_BTI)
        batch = input_BTI.shape[:1]
        scan = nn.scan(
            Cell,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=1,
            out_axes=1,
            check_constancy_invariants=self.is_initializing(),  # else jax2onnx cannot trace the scan
        )
        cell = scan(self.features, self.step, self.gate, self.biases, keep_states=score_BKT is None, name="cell")
        if score_BKT is None:
            initial_BH = jnp.zeros((*batch, self.features))
            states: Any = cell(initial_BH, projected_BTG, None, mask_BT[:, :, None])[1]
            return states
        initial_BKH = jnp.zeros((*batch, score_BKT.shape[1], self.features))
        score_BTK1 = jnp.swapaxes(score_BKT, 1, 2)[..., None]
        return cell(initial_BKH, projected_BTG[:, :, None], score_BTK1, mask_BT[:, :, None, None])[0]
