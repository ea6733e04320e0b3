"""DIN, the Deep Interest Network (Zhou et al., KDD 2018): past behaviours weighed by attention to the candidate."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from dienjax.batch import Batch
from dienjax.layers import MLP, Activation, Embedded, FeatureEmbedder, TargetAttention
from dienjax.models.output import Output, tower_input
from dienjax.schema import Schema


class DIN(nn.Module):
    """DIN. `softmax=False` keeps the intensity of interest, as the paper does; the authors' later code normalises."""

    schema: Schema
    softmax: bool = False
    attention_hidden: tuple[int, ...] = (80, 40)
    attention_activation: Activation = "dice"
    tower: tuple[int, ...] = (200, 80)
    tower_activation: Activation = "dice"
    batch_norm: bool = False
    dropout: float = 0.0

    def setup(self) -> None:
        self.embedder = FeatureEmbedder(self.schema)
        self.attention = TargetAttention("mlp", self.attention_hidden, self.attention_activation, self.softmax)
        self.mlp = MLP(self.tower, self.tower_activation, self.batch_norm, self.dropout, name="tower")

    def __call__(self, batch: Batch, train: bool = False) -> Output:
        return self.net(self.embed(batch), train)

    def embed(self, batch: Batch) -> Embedded:
        return self.embedder(batch)

    def net(self, e: Embedded, train: bool = False) -> Output:
        weight_BKT = self.attention(e.candidate_BKE, e.history_BTE, e.mask_BK, e.mask_BT, train)
        interest_BKE = jnp.einsum("bkt,bte->bke", weight_BKT, e.history_BTE)
        logit_BK: jax.Array = self.mlp(tower_input(interest_BKE, e), e.mask_BK, train)
        return Output(logit_BK)
