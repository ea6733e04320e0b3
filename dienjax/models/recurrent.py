"""The recurrences of DIEN: GRU, AIGRU, AGRU and AUGRU steps, one cell for all, and the masked scan over it.

u is the paper's update gate, which *writes*: h' = (1 − u)·h + u·h̃ (DIEN, eq. 2-5). torch and Linen call 1 − u their
update gate z. The reset gate acts after the matmul, with a recurrent bias on the candidate, as in torch and Linen.
Cells with other biases, or the reset before the matmul, are named after their source (`Biases`).

Inside a scan the features come first and the batch last, [H, K, B]: gates are then whole rows, every elementwise
operation runs over contiguous numbers, and no matmul needs a transposed copy.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
from flax import linen as nn

from dienjax.models.matmul import Dtype, by_column

Gate = Literal["paper", "author"]
Step = Literal["GRU", "AIGRU", "AGRU", "AUGRU"]
Biases = Literal["linen", "torch", "tied", "paper", "author"]
"""linen: one bias per gate, and one on the candidate's recurrent side. torch: two per gate (nn.GRU; AGRU then has an
update gate that nothing reads, as in deepctr-torch). tied: one tensor on both sides (deepctr-torch's AUGRU). paper: one
per gate (DIEN, eq. 2-4; torch-rechub's AUGRU). author: the same, with the reset before the matmul and gates that start
at 1 (the authors' TensorFlow cells)."""

StepFunction: TypeAlias = Callable[[jax.Array, Any, jax.Array, Any], jax.Array]
"""(state h [H, K, B], update gate u, candidate state h̃, score a [1, K, B] or None where there is none) -> h'."""


def gru_step(state: jax.Array, gate: jax.Array, candidate: jax.Array) -> jax.Array:
    """h' = (1 − u)·h + u·h̃ (DIEN, eq. 5)."""
    return state + gate * (candidate - state)


def agru_gate(update: Any, score: jax.Array) -> jax.Array:
    """The attention score a in place of the update gate (DIEN, eq. 10)."""
    return score


def augru_gate(update: jax.Array, score: jax.Array) -> jax.Array:
    """û = a·u (DIEN, eq. 11-12): a = 0 keeps the state. Also deepctr-torch, torch-rechub."""
    return score * update


def augru_gate_author(update: jax.Array, score: jax.Array) -> jax.Array:
    """û = 1 − (1 − a)·(1 − u), the authors' TensorFlow form, where a = 0 is a GRU step."""
    return 1 - (1 - score) * (1 - update)


def per_row(vector_F: jax.Array, x: jax.Array) -> jax.Array:
    """vector_F with as many axes as x [F, ...]."""
    return vector_F.reshape((-1,) + (1,) * (x.ndim - 1))


_zeros = nn.initializers.zeros


class Cell(nn.Module):
    """One step of the recurrence `step`, by name or a function; the gates are r, u, h̃ (AGRU: r, h̃)."""

    features: int
    step: Step | StepFunction = "GRU"
    gate: Gate = "paper"
    biases: Biases = "linen"
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, state_HKB: jax.Array, inputs: tuple[jax.Array, Any, Any]) -> tuple[jax.Array, jax.Array]:
        """(state, (input [E, 1, B], score [1, K, B], mask [1, 1, B])) -> the new state, as carry and output.

        Score and mask may be None: a GRU has no score, and what a score of 0 keeps needs no mask.
        """
        input_E1B, score, mask = inputs
        H, gates = self.features, gate_count(self.step, self.biases)
        glorot = nn.initializers.glorot_uniform()
        input_kernel = self.param("input_kernel", glorot, (input_E1B.shape[0], gates * H))
        kernel = self.param("kernel", _orthogonal_gates, (H, gates * H))
        bias = self.param("bias", self._initial_bias, (gates * H,))
        projected = by_column(input_kernel, input_E1B, self.dtype)
        if self.step == "AIGRU":  # a·(h·W) = (a·h)·W (DIEN, eq. 9), so that all candidates share one projection
            projected = score * projected
        *gate_inputs, candidate_input = jnp.split(projected + per_row(bias, projected), gates)
        gate_states, candidate_state = self._recurrent_side(state_HKB, kernel, bias)
        reset, *update = [nn.sigmoid(i + s) for i, s in zip(gate_inputs, gate_states, strict=True)]
        if self.biases == "author":
            candidate_state = by_column(kernel[:, -H:], reset * state_HKB, self.dtype)
            reset = jnp.ones_like(reset)
        candidate = nn.tanh(candidate_input + reset * candidate_state)
        u: Any = update[0] if update else None  # an AGRU has none
        if callable(self.step):
            gate, new = u, self.step(state_HKB, u, candidate, score)
        else:
            scaled = {"AGRU": agru_gate, "AUGRU": augru_gate if self.gate == "paper" else augru_gate_author}
            gate = scaled[self.step](u, score) if self.step in scaled else u
            new = gru_step(state_HKB, gate, candidate)
        self.sow("intermediates", "gate_THKB", gate)
        if mask is not None:
            new = jnp.where(mask, new, state_HKB)
        return new, new

    def _recurrent_side(self, state_HKB: jax.Array, kernel: jax.Array, bias: jax.Array) -> tuple[list[jax.Array], Any]:
        """What the state adds to each gate, and to the candidate before its reset."""
        H, gates = self.features, kernel.shape[1] // self.features
        if self.biases == "author":
            return jnp.split(by_column(kernel[:, :-H], state_HKB, self.dtype), gates - 1), None
        x = by_column(kernel, state_HKB, self.dtype)
        if self.biases in ("torch", "tied"):
            x += per_row(bias if self.biases == "tied" else self.param("state_bias", _zeros, bias.shape), x)
        *gate_states, candidate = jnp.split(x, gates)
        if self.biases == "linen":
            candidate += per_row(self.param("candidate_bias", _zeros, (H,)), x)
        return gate_states, candidate

    def _initial_bias(self, key: jax.Array, shape: tuple[int]) -> jax.Array:
        return jnp.zeros(shape).at[: -self.features].set(1.0 if self.biases == "author" else 0.0)


def gate_count(step: Step | StepFunction, biases: Biases) -> int:
    """How many gates a cell's kernels have, the candidate included."""
    return 2 if step == "AGRU" and biases in ("linen", "paper", "author") else 3


def _orthogonal_gates(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """An orthogonal matrix for each gate, side by side."""
    features, width = shape
    dtype = jax.dtypes.canonicalize_dtype(float)
    keys = jax.random.split(key, width // features)
    return jnp.concatenate([nn.initializers.orthogonal()(k, (features, features), dtype) for k in keys], axis=1)


class Recurrence(nn.Module):
    """The masked scan over a cell, from a zero state: padded steps keep the state and output 0.

    All candidates share the projection of a step's input. The gradient keeps the states and computes the gates again,
    which takes less time than to store and to read them. `step` may be a function of your own, see `StepFunction`.
    """

    features: int
    step: Step | StepFunction = "GRU"
    gate: Gate = "paper"
    biases: Biases = "linen"
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, input_BTI: jax.Array, mask_BT: jax.Array, score_BKT: jax.Array | None = None) -> jax.Array:
        """Without scores: the states of every step, [B, T, H]. With scores: the last real state, [B, K, H]."""
        scan = nn.scan(
            nn.remat(Cell, prevent_cse=False),
            variable_broadcast="params",
            variable_axes={"intermediates": 0},
            split_rngs={"params": False},
            check_constancy_invariants=self.is_initializing(),  # else jax2onnx cannot trace the scan
        )
        cell = scan(self.features, self.step, self.gate, self.biases, self.dtype, name="cell")
        mask_T11B: Any = mask_BT.T[:, None, None]
        rests_at_0 = self.step == "AGRU" or (self.step == "AUGRU" and self.gate == "paper")
        if rests_at_0 and score_BKT is not None:  # a score of 0 keeps the state: the mask may be in the score
            score_BKT, mask_T11B = jnp.where(mask_BT[:, None], score_BKT, 0), None
        input_TI1B = input_BTI.transpose(1, 2, 0)[:, :, None]
        score_T1KB = None if score_BKT is None else score_BKT.transpose(2, 1, 0)[:, None]
        K = 1 if score_BKT is None else score_BKT.shape[1]
        initial_HKB = jnp.zeros((self.features, K, input_BTI.shape[0]))
        last_HKB, state_THKB = cell(initial_HKB, (input_TI1B, score_T1KB, mask_T11B))
        self.sow("intermediates", "state_THKB", state_THKB)
        if score_BKT is None:
            return jnp.where(mask_BT[:, :, None], state_THKB[:, :, 0].transpose(2, 0, 1), 0)
        return last_HKB.transpose(2, 1, 0)
