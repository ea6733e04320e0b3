"""A DIEN with a cell of its own: an interest that a candidate does not attend to fades instead of staying as it was."""

from functools import partial
from typing import Annotated

import jax
from flax import linen as nn
from pydantic import Field

from dienjax.batch import Batch
from dienjax.models.dien import AuxiliaryScorer
from dienjax.models.embedding import Embedded, FeatureEmbedder
from dienjax.models.layers import MLP, TargetAttention
from dienjax.models.output import Auxiliary, Output, tower_input
from dienjax.models.recurrent import Recurrence
from dienjax.schema import Schema


def fading_step(state: jax.Array, update: jax.Array, candidate: jax.Array, score: jax.Array, keep: float) -> jax.Array:
    """h' = (1 − û)·ρ·h + û·h̃ with û = a·u: an AUGRU (DIEN, eq. 11-12) whose kept part is scaled by ρ."""
    gate = score * update
    return (1 - gate) * keep * state + gate * candidate


class FadingDIEN(nn.Module):
    """GRU interest extractor, attention, and an evolution by `fading_step`."""

    schema: Schema
    keep: Annotated[float, Field(gt=0, le=1)] = 0.95
    state: int = 16
    tower: tuple[int, ...] = (64, 32)
    auxiliary: str = "mlp"

    def setup(self) -> None:
        self.embedder = FeatureEmbedder(self.schema)
        self.extractor = Recurrence(self.state)
        self.scorer = AuxiliaryScorer("mlp", (32,), "sigmoid")
        self.attention = TargetAttention(hidden=(32, 16))
        self.evolution = Recurrence(self.state, step=partial(fading_step, keep=self.keep))
        self.mlp = MLP(self.tower, name="tower")

    def __call__(self, batch: Batch, train: bool = False) -> Output:
        return self.net(self.embed(batch), train)

    def embed(self, batch: Batch) -> Embedded:
        return self.embedder(batch)

    def net(self, e: Embedded, train: bool = False) -> Output:
        state_BTH, mask_BS = self.encode(e), e.mask_BT[:, 1:]
        pair = [] if e.negative_BTE is None else [e.history_BTE, e.negative_BTE]
        logits = [self.scorer(state_BTH[:, :-1], x_BTE[:, 1:], mask_BS, train) for x_BTE in pair]
        return Output(self.score(state_BTH, e, train), Auxiliary(*logits, mask_BS) if pair else None)

    def encode(self, e: Embedded) -> jax.Array:
        return self.extractor(e.history_BTE, e.mask_BT)

    def score(self, state_BTH: jax.Array, e: Embedded, train: bool = False) -> jax.Array:
        weight_BKT = self.attention(e.candidate_BKE, state_BTH, e.mask_BK, e.mask_BT, train)
        interest_BKH = self.evolution(state_BTH, e.mask_BT, weight_BKT)
        return self.mlp(tower_input([interest_BKH], e), e.mask_BK, train)
