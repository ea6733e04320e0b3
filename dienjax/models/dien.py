"""DIEN, the Deep Interest Evolution Network (Zhou et al., AAAI 2019): extract interests, then evolve them."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dienjax.batch import Batch
from dienjax.layers import MLP, Activation, Attention, BatchNorm, Embedded, FeatureEmbedder, Head, TargetAttention
from dienjax.models.fields import Fields, of_fields
from dienjax.models.output import Auxiliary, Output, tower_input
from dienjax.recurrent import Biases, Gate, Recurrence, Step
from dienjax.schema import Schema

Cell = Literal["linen", "deepctr_torch", "torch_rechub", "author"]


class AuxiliaryScorer(nn.Module):
    """The logit that a behaviour follows an interest state (DIEN, eq. 6): an MLP on [h; e], or their inner product."""

    form: Literal["mlp", "inner"]
    hidden: tuple[int, ...]
    activation: Activation
    head: Head = "one"

    @nn.compact
    def __call__(self, state_BSH: jax.Array, behaviour_BSE: jax.Array, mask_BS: jax.Array, train: bool) -> jax.Array:
        if self.form == "inner":
            return jnp.sum(state_BSH * behaviour_BSE, axis=-1)
        return MLP(self.hidden, self.activation, head=self.head, name="mlp")((state_BSH, behaviour_BSE), mask_BS, train)


class DIEN(nn.Module):
    """DIEN. `kind` names the interest evolution:

    GRU: a second GRU, then its states weighed by attention; AIGRU: a GRU over a_t·h_t (eq. 9); AGRU: the attention
    score as update gate (eq. 10); AUGRU: the attention score scales the update gate (eq. 11-12), in the paper's form
    or (`gate="author"`) in that of the authors' TensorFlow code. `state` is the width of the interest states; 0 takes
    the width of a behaviour, which the inner-product auxiliary loss needs.

    Variants by their source: `cell` says which biases the recurrences have and where their reset acts
    (`dienjax.recurrent.Biases`); `fields="separate"` extracts and evolves the interest in each behaviour field on its
    own, as torch-rechub does; `batch_norm="torch"` is nn.BatchNorm1d; `attention="author"` and `head="author"` are
    the query projection and the two outputs of the authors' TensorFlow code.
    """

    schema: Schema
    kind: Step = "AUGRU"
    gate: Gate = "paper"
    cell: Cell = "linen"
    state: int = 0
    fields: Fields = "joined"
    attention: Attention = "mlp"
    attention_hidden: tuple[int, ...] = (80, 40)
    attention_activation: Activation = "dice"
    attention_batch_norm: BatchNorm = False
    softmax: bool = True
    auxiliary: Literal["mlp", "inner"] = "mlp"
    auxiliary_hidden: tuple[int, ...] = (100, 50)
    auxiliary_activation: Literal["relu", "sigmoid", "tanh", "prelu"] = "sigmoid"
    tower: tuple[int, ...] = (200, 80)
    tower_activation: Activation = "dice"
    batch_norm: BatchNorm = False
    dropout: float = 0.0
    head: Head = "one"

    def setup(self) -> None:
        self._check()
        extractor_biases, evolution_biases = cell_biases(self.cell, self.kind)
        fields = of_fields(self.schema, self.fields)
        widths = [self.state or field.width for field in fields]
        self.embedder = FeatureEmbedder(self.schema)
        self.extractors = [
            Recurrence(width, biases=extractor_biases, name=f"extractor{field.suffix}")
            for field, width in zip(fields, widths, strict=True)
        ]
        self.scorer = AuxiliaryScorer(self.auxiliary, self.auxiliary_hidden, self.auxiliary_activation, self.head)
        self.attentions = [
            TargetAttention(
                self.attention,
                self.attention_hidden,
                self.attention_activation,
                self.softmax,
                self.attention_batch_norm,
                name=f"target_attention{field.suffix}",
            )
            for field in fields
        ]
        self.evolutions = [
            Recurrence(width, self.kind, self.gate, evolution_biases, name=f"evolution{field.suffix}")
            for field, width in zip(fields, widths, strict=True)
        ]
        self.mlp = MLP(self.tower, self.tower_activation, self.batch_norm, self.dropout, head=self.head, name="tower")

    def _check(self) -> None:
        width = of_fields(self.schema, "joined")[0].width
        if self.auxiliary == "inner" and self.state not in (0, width):
            raise ValueError(
                f"DIEN: state is {self.state}, a behaviour is {width} wide; expected equal widths for the inner "
                'product of auxiliary="inner": set state=0, or auxiliary="mlp"'
            )
        if self.fields == "separate" and (self.state or self.auxiliary != "inner"):
            raise ValueError(
                f'DIEN: fields="separate" with state={self.state}, auxiliary={self.auxiliary!r}; expected state=0 and '
                'auxiliary="inner", as in torch-rechub: the interest states of each field have its own width'
            )

    def __call__(self, batch: Batch, train: bool = False) -> Output:
        return self.net(self.embed(batch), train)

    def embed(self, batch: Batch) -> Embedded:
        return self.embedder(batch)

    def net(self, e: Embedded, train: bool = False) -> Output:
        interests, auxiliaries = [], []
        for i, field in enumerate(of_fields(self.schema, self.fields)):
            of_field = field.of_batch(e)
            state_BTH = self.extractors[i](of_field.history_BTE, e.mask_BT)
            interests.append(self._evolve(i, state_BTH, of_field, train))
            auxiliaries.append(self._auxiliary(state_BTH, of_field, train))
        logit_BK = self.mlp(tower_input(interests, e), e.mask_BK, train)
        if e.negative_BTE is None:
            return Output(logit_BK)
        return Output(logit_BK, jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *auxiliaries))

    def _evolve(self, i: int, state_BTH: jax.Array, e: Embedded, train: bool) -> jax.Array:
        if self.kind == "GRU":
            state_BTH = self.evolutions[i](state_BTH, e.mask_BT)
        weight_BKT = self.attentions[i](e.candidate_BKE, state_BTH, e.mask_BK, e.mask_BT, train)
        if self.kind == "GRU":
            return jnp.einsum("bkt,bth->bkh", weight_BKT, state_BTH)
        return self.evolutions[i](state_BTH, e.mask_BT, weight_BKT)

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


def cell_biases(cell: Cell, kind: Step) -> tuple[Biases, Biases]:
    """The biases of the interest extractor and of the interest evolution."""
    if cell == "deepctr_torch":
        return "torch", "tied" if kind == "AUGRU" else "torch"
    if cell == "torch_rechub":
        return "torch", "paper"
    return cell, cell
