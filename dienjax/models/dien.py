"""DIEN, the Deep Interest Evolution Network (Zhou et al., AAAI 2019): extract interests, then evolve them."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dienjax.batch import Batch
from dienjax.layers import MLP, Activation, Embedded, FeatureEmbedder, TargetAttention
from dienjax.models.output import Auxiliary, Output, tower_input
from dienjax.recurrent import Gate, Recurrence, Step
from dienjax.schema import Schema


class AuxiliaryScorer(nn.Module):
    """The logit that a behaviour follows an interest state (DIEN, eq. 6): an MLP on [h; e], or their inner product."""

    form: Literal["mlp", "inner"]
    hidden: tuple[int, ...]
    activation: Activation

    @nn.compact
    def __call__(self, state_BSH: jax.Array, behaviour_BSE: jax.Array, mask_BS: jax.Array, train: bool) -> jax.Array:
        if self.form == "inner":
            return jnp.sum(state_BSH * behaviour_BSE, axis=-1)
        pair_BSF = jnp.concatenate([state_BSH, behaviour_BSE], axis=-1)
        return MLP(self.hidden, self.activation, name="mlp")(pair_BSF, mask_BS, train)


class DIEN(nn.Module):
    """DIEN. `kind` names the interest evolution:

    GRU: a second GRU, then its states weighed by attention; AIGRU: a GRU over a_t·h_t (eq. 9); AGRU: the attention
    score as update gate (eq. 10); AUGRU: the attention score scales the update gate (eq. 11-12), in the paper's form
    or (`gate="author"`) in that of the authors' TensorFlow code. `state` is the width of the interest states; 0 takes
    the width of a behaviour, which the inner-product auxiliary loss needs.
    """

    schema: Schema
    kind: Step = "AUGRU"
    gate: Gate = "paper"
    state: int = 0
    attention: Literal["mlp", "bilinear"] = "mlp"
    attention_hidden: tuple[int, ...] = (80, 40)
    attention_activation: Activation = "dice"
    softmax: bool = True
    auxiliary: Literal["mlp", "inner"] = "mlp"
    auxiliary_hidden: tuple[int, ...] = (100, 50)
    auxiliary_activation: Literal["relu", "sigmoid", "tanh", "prelu"] = "sigmoid"
    tower: tuple[int, ...] = (200, 80)
    tower_activation: Activation = "dice"
    batch_norm: bool = False
    dropout: float = 0.0

    def setup(self) -> None:
        behaviour_width = sum(self.schema.table(b.table).dim for b in self.schema.behaviours)
        width = self.state or behaviour_width
        if self.auxiliary == "inner" and width != behaviour_width:
            raise ValueError(
                f"DIEN: state is {width}, a behaviour is {behaviour_width} wide; expected equal widths for the inner "
                'product of auxiliary="inner": set state=0, or auxiliary="mlp"'
            )
        self.embedder = FeatureEmbedder(self.schema)
        self.extractor = Recurrence(width)
        self.scorer = AuxiliaryScorer(self.auxiliary, self.auxiliary_hidden, self.auxiliary_activation)
        self.target_attention = TargetAttention(
            self.attention, self.attention_hidden, self.attention_activation, self.softmax
        )
        self.evolution = Recurrence(width, self.kind, self.gate)
        self.mlp = MLP(self.tower, self.tower_activation, self.batch_norm, self.dropout, name="tower")

    def __call__(self, batch: Batch, train: bool = False) -> Output:
        return self.net(self.embed(batch), train)

    def embed(self, batch: Batch) -> Embedded:
        return self.embedder(batch)

    def net(self, e: Embedded, train: bool = False) -> Output:
        state_BTH = self.extractor(e.history_BTE, e.mask_BT)
        interest_BKH = self._evolve(state_BTH, e, train)
        logit_BK = self.mlp(tower_input(interest_BKH, e), e.mask_BK, train)
        return Output(logit_BK, self._auxiliary(state_BTH, e, train))

    def _evolve(self, state_BTH: jax.Array, e: Embedded, train: bool) -> jax.Array:
        if self.kind == "GRU":
            state_BTH = self.evolution(state_BTH, e.mask_BT)
        weight_BKT = self.target_attention(e.candidate_BKE, state_BTH, e.mask_BK, e.mask_BT, train)
        if self.kind == "GRU":
            return jnp.einsum("bkt,bth->bkh", weight_BKT, state_BTH)
        return self.evolution(state_BTH, e.mask_BT, weight_BKT)

    def _auxiliary(self, state_BTH: jax.Array, e: Embedded, train: bool) -> Auxiliary | None:
        """State t against behaviour t + 1 and its negative, wherever behaviour t + 1 is real."""
        if e.negative_BTE is None:
            return None
        state_BSH, mask_BS = state_BTH[:, :-1], e.mask_BT[:, 1:]
        return Auxiliary(
            self.scorer(state_BSH, e.history_BTE[:, 1:], mask_BS, train),
            self.scorer(state_BSH, e.negative_BTE[:, 1:], mask_BS, train),
            mask_BS,
        )
