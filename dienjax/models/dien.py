"""DIEN, the Deep Interest Evolution Network (Zhou et al., AAAI 2019): extract interests, then evolve them."""

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import accumulate
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dienjax.batch import Batch
from dienjax.errors import nearest
from dienjax.models.embedding import Embedded, FeatureEmbedder
from dienjax.models.fields import Fields, History, Part, history, moved, parts_of
from dienjax.models.layers import (
    MLP,
    Activation,
    Attention,
    AttentionHidden,
    BatchNorm,
    Head,
    TargetAttention,
)
from dienjax.models.matmul import Dtype, einsum
from dienjax.models.min_recurrent import MinRecurrence
from dienjax.models.output import Auxiliary, Output, tower_input
from dienjax.models.recurrent import Biases, Gate, Recurrence, Step
from dienjax.models.settings import Share, Width, Widths
from dienjax.models.time_bias import time_bias, time_field
from dienjax.schema import Schema

Cell = Literal["linen", "deepctr_torch", "torch_rechub", "author"]
Kind = Literal[Step, "minAUGRU"]


class AuxiliaryScorer(nn.Module):
    """The logit that a behaviour follows an interest state (DIEN, eq. 6): an MLP on [h; e], or their inner product."""

    form: Literal["mlp", "inner"]
    hidden: tuple[int, ...]
    activation: Activation
    head: Head = "one"
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, state_BSH: jax.Array, behaviour_BSE: jax.Array, mask_BS: jax.Array, train: bool) -> jax.Array:
        if self.form == "inner":
            return jnp.sum(state_BSH * behaviour_BSE, axis=-1)
        mlp = MLP(self.hidden, self.activation, head=self.head, dtype=self.dtype, name="mlp")
        return mlp((state_BSH, behaviour_BSE), mask_BS, train)


class DIEN(nn.Module):
    """DIEN. `kind` names the interest evolution:

    GRU: a second GRU, then its states weighed by attention; AIGRU: a GRU over a_t·h_t (eq. 9); AGRU: the attention
    score as update gate (eq. 10); AUGRU: the attention score scales the update gate (eq. 11-12), in the paper's form
    or (`gate="author"`) in that of the authors' TensorFlow code; minAUGRU: an AUGRU whose gates read the interest
    states alone (`dienjax.models.min_recurrent`), so that a step of a candidate has no matrix product.
    `extractor="minGRU"` extracts interests by gates that read the behaviours alone. `state` is the width of the
    interest states; 0 takes the width of a behaviour, which the inner-product auxiliary loss needs.

    With channels in the schema each has its own extractor, attention, evolution and auxiliary scorer, for a history of
    its own; `auxiliary_channels` names those with the auxiliary loss, if not all have it.

    Variants by their source: `cell` says which biases the recurrences have and where their reset acts, if they have one
    (`dienjax.models.recurrent.Biases`); `fields="separate"` extracts and evolves the interest in each behaviour field
    on its own, as torch-rechub does; `batch_norm="torch"` is nn.BatchNorm1d; `attention="author"` and `head="author"`
    are the query projection and the two outputs of the authors' TensorFlow code.

    `attention_time` names a field of time, such as "gap": its vector times learned weights, so a number for each of its
    buckets, is added to the attention scores of a behaviour, before the softmax if there is one.

    `dtype="bfloat16"` rounds the factors of matrix products, also in gradients. Their sums, and all else (parameters,
    gates, states, softmax, statistics, logits), stay float32; so does the inner product of `auxiliary="inner"`.
    """

    schema: Schema
    kind: Kind = "AUGRU"
    extractor: Literal["GRU", "minGRU"] = "GRU"
    gate: Gate = "paper"
    cell: Cell = "linen"
    state: Literal[0] | Width = 0
    fields: Fields = "joined"
    attention: Attention = "mlp"
    attention_hidden: AttentionHidden = (80, 40)
    attention_activation: Activation = "dice"
    attention_batch_norm: BatchNorm = False
    attention_time: str = ""
    softmax: bool = True
    auxiliary: Literal["mlp", "inner"] = "mlp"
    auxiliary_hidden: Widths = (100, 50)
    auxiliary_activation: Literal["relu", "sigmoid", "tanh", "prelu"] = "sigmoid"
    auxiliary_channels: tuple[str, ...] = ()
    tower: Widths = (200, 80)
    tower_activation: Activation = "dice"
    batch_norm: BatchNorm = False
    dropout: Share = 0.0
    head: Head = "one"
    dtype: Dtype = "float32"

    def __post_init__(self) -> None:
        self._check()
        super().__post_init__()

    def setup(self) -> None:
        extractor_biases, evolution_biases = cell_biases(self.cell, self.kind)
        parts = self._parts
        widths = [self.state or part.width for part in parts]
        self.embedder = FeatureEmbedder(self.schema)
        self.extractors = [
            MinRecurrence(width, dtype=self.dtype, name=f"extractor{part.suffix}")
            if self.extractor == "minGRU"
            else Recurrence(width, biases=extractor_biases, dtype=self.dtype, name=f"extractor{part.suffix}")
            for part, width in zip(parts, widths, strict=True)
        ]
        self.scorers = [
            AuxiliaryScorer(
                self.auxiliary,
                self.auxiliary_hidden,
                self.auxiliary_activation,
                self.head,
                self.dtype,
                name=f"scorer{part.suffix}",
            )
            for part in parts
        ]
        self.attentions = [
            TargetAttention(
                self.attention,
                self.attention_hidden,
                self.attention_activation,
                self.softmax,
                self.attention_batch_norm,
                self.dtype,
                name=f"target_attention{part.suffix}",
            )
            for part in parts
        ]
        self.evolutions = [
            MinRecurrence(width, self.gate, self.dtype, name=f"evolution{part.suffix}")
            if self.kind == "minAUGRU"
            else Recurrence(width, self.kind, self.gate, evolution_biases, self.dtype, name=f"evolution{part.suffix}")
            for part, width in zip(parts, widths, strict=True)
        ]
        self.time_bias = time_bias(self.schema, self.attention_time)
        self.mlp = MLP(
            self.tower,
            self.tower_activation,
            self.batch_norm,
            self.dropout,
            head=self.head,
            dtype=self.dtype,
            name="tower",
        )

    @nn.nowrap
    def _check(self) -> None:
        parts_of(self.schema, self.fields)
        if self.attention_time:
            time_field(self.schema, self.attention_time)
        width, known = parts_of(self.schema, "joined")[0].width, [c.name for c in self.schema.channels]
        for name in self.auxiliary_channels:
            if name not in known:
                raise ValueError(f"DIEN: auxiliary_channels has {name!r}; {nearest(name, known)}")
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
        if self.cell != "linen" and self.kind == "minAUGRU" and self.extractor == "minGRU":
            raise ValueError(
                f'DIEN: cell="{self.cell}" with extractor="minGRU" and kind="minAUGRU", whose gates have no variants; '
                'expected cell="linen": leave it out, or set extractor="GRU" or another kind'
            )

    @property
    def _parts(self) -> list[Part]:
        return parts_of(self.schema, self.fields)

    def __call__(self, batch: Batch, train: bool = False) -> Output:
        return self.net(self.embed(batch), train)

    def embed(self, batch: Batch) -> Embedded:
        return self.embedder(batch)

    def net(self, e: Embedded, train: bool = False) -> Output:
        seen = [history(part, e) for part in self._parts]
        masks = [h.mask_BS for h in seen]
        states = self._extract([h.event_BSE for h in seen], masks)
        bias_BT = self.time_bias(e.history_BTE)
        biases = [moved(bias_BT, h.slot_BS) for h in seen]
        logit_BK = self._logits(self._candidate_free(states, masks), masks, biases, e, train)
        if e.negative_BTE is None:
            return Output(logit_BK)
        auxiliaries = [
            self._auxiliary(scorer, state_BSH, h, train)
            for part, scorer, state_BSH, h in zip(self._parts, self.scorers, states, seen, strict=True)
            if self._learns_next(part)
        ]
        return Output(logit_BK, jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *auxiliaries))

    def encode(self, e: Embedded) -> jax.Array:
        """What no candidate changes, once per history: the interest states, [B, T, H], all fields side by side.

        The state of an event is that of its channel. For the kind GRU the second GRU is part of it, and so is, as one
        more column, what `attention_time` adds to the attention scores. Of `e` only the history, its mask and its
        channels are read.
        """
        masks = [part.mask(e) for part in self._parts]
        states = self._candidate_free(self._extract([part.of(e.history_BTE) for part in self._parts], masks), masks)
        # Elsewhere than at its own events, a channel's states are 0.
        states = [reduce(jnp.add, states)] if self.schema.channels else states
        bias_BT = self.time_bias(e.history_BTE)
        return jnp.concatenate(states if bias_BT is None else [*states, bias_BT[..., None]], axis=-1)

    def score(self, state_BTH: jax.Array, e: Embedded, train: bool = False) -> jax.Array:
        """logit_BK of the candidates, given the encoded history; `e.history_BTE` is not read."""
        parts = self._parts
        ends = list(accumulate(extractor.features for extractor in self.extractors))
        bias_BT = None
        if self.attention_time:
            state_BTH, bias_BT = state_BTH[..., :-1], state_BTH[..., -1]
        states = [state_BTH] * len(parts) if self.schema.channels else jnp.split(state_BTH, ends[:-1], axis=-1)
        return self._logits(states, [part.mask(e) for part in parts], [bias_BT] * len(parts), e, train)

    def next_logit(self, state_BH: Mapping[str, jax.Array], behaviour_VE: jax.Array) -> jax.Array:
        """The auxiliary logit [B, V] that each of V behaviours, as vectors, comes next after each of B interest states.

        The states stand under the name of the extractor that made them; of separate fields, and of channels, the mean
        logit counts.
        """
        logits = []
        for part, extractor, scorer in zip(self._parts, self.extractors, self.scorers, strict=True):
            if self._learns_next(part):
                state_B1H = state_BH[str(extractor.name)][:, None]
                mask_BV = jnp.ones((len(state_B1H), len(behaviour_VE)), bool)
                logits.append(scorer(state_B1H, part.of(behaviour_VE)[None], mask_BV, False))
        return jnp.mean(jnp.stack(logits), axis=0)

    def _learns_next(self, part: Part) -> bool:
        """Whether a part has the auxiliary loss."""
        named = self.auxiliary_channels
        return not named or self.schema.channels[part.channel].name in named

    def _extract(self, events: list[jax.Array], masks: list[jax.Array]) -> list[jax.Array]:
        """The states of the interest extractors, [B, S, H] for each part, from its events [B, S, E]."""
        return [extract(*seen) for extract, *seen in zip(self.extractors, events, masks, strict=True)]

    def _candidate_free(self, states: list[jax.Array], masks: list[jax.Array]) -> list[jax.Array]:
        """What no candidate changes, for each part."""
        if self.kind != "GRU":
            return states
        return [evolve(*seen) for evolve, *seen in zip(self.evolutions, states, masks, strict=True)]

    def _logits(
        self,
        states: list[jax.Array],
        masks: list[jax.Array],
        biases: Sequence[jax.Array | None],
        e: Embedded,
        train: bool,
    ) -> jax.Array:
        """logit_BK, given the states of each part [B, S, H], their mask and the term of their time [B, S]."""
        interests = []
        for part, attention, evolution, state_BSH, mask_BS, bias_BS in zip(
            self._parts, self.attentions, self.evolutions, states, masks, biases, strict=True
        ):
            weight_BKS = attention(part.of(e.candidate_BKE), state_BSH, e.mask_BK, mask_BS, train, bias_BS)
            if self.kind == "GRU":
                interests.append(einsum("bks,bsh->bkh", weight_BKS, state_BSH, self.dtype))
            else:
                interests.append(evolution(state_BSH, mask_BS, weight_BKS))
        logit_BK: jax.Array = self.mlp(tower_input(interests, e), e.mask_BK, train)
        return logit_BK

    def _auxiliary(self, scorer: AuxiliaryScorer, state_BTH: jax.Array, seen: History, train: bool) -> Auxiliary:
        """State t against behaviour t + 1 and its negative, wherever behaviour t + 1 is real."""
        assert seen.negative_BSE is not None  # only then is there an auxiliary loss
        state_BSH, mask_BS, slot_BS = state_BTH[:, :-1], seen.mask_BS[:, 1:], seen.slot_BS
        if slot_BS is None:
            slot_BS = jnp.broadcast_to(jnp.arange(state_BTH.shape[1])[None], state_BTH.shape[:2])
        return Auxiliary(
            scorer(state_BSH, seen.event_BSE[:, 1:], mask_BS, train),
            scorer(state_BSH, seen.negative_BSE[:, 1:], mask_BS, train),
            mask_BS,
            slot_BS[:, 1:],
        )


def cell_biases(cell: Cell, kind: Kind) -> tuple[Biases, Biases]:
    """The biases of the interest extractor and of the interest evolution."""
    if cell == "deepctr_torch":
        return "torch", "tied" if kind == "AUGRU" else "torch"
    if cell == "torch_rechub":
        return "torch", "paper"
    return cell, cell
