"""A DIN with an attention of its own: scaled dot products of candidate and behaviours, in several heads."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from dienjax.batch import Batch
from dienjax.models.embedding import Embedded, FeatureEmbedder
from dienjax.models.layers import MLP
from dienjax.models.output import Output, tower_input
from dienjax.schema import Schema


class ScaledDotAttention(nn.Module):
    """softmax(q·k / √d)·v over the real behaviours (Vaswani et al. 2017, eq. 1); 0 for an empty history."""

    heads: int
    width: int

    @nn.compact
    def __call__(self, query_BKE: jax.Array, key_BTE: jax.Array, mask_BT: jax.Array) -> jax.Array:
        """-> interest [B, K, heads · width]."""
        shape = (self.heads, self.width)
        query_BKHD = nn.DenseGeneral(shape, use_bias=False, name="query")(query_BKE)
        key_BTHD = nn.DenseGeneral(shape, use_bias=False, name="key")(key_BTE)
        value_BTHD = nn.DenseGeneral(shape, use_bias=False, name="value")(key_BTE)
        score_BHKT = jnp.einsum("bkhd,bthd->bhkt", query_BKHD, key_BTHD) * self.width**-0.5
        weight_BHKT = nn.softmax(score_BHKT, where=mask_BT[:, None, None])
        interest_BKHD = jnp.einsum("bhkt,bthd->bkhd", weight_BHKT, value_BTHD)
        return interest_BKHD.reshape(*query_BKE.shape[:2], self.heads * self.width)


class ScaledDotDIN(nn.Module):
    """Embeddings, `ScaledDotAttention`, and a tower."""

    schema: Schema
    heads: int = 2
    width: int = 8
    tower: tuple[int, ...] = (64, 32)

    def setup(self) -> None:
        self.embedder = FeatureEmbedder(self.schema)
        self.attention = ScaledDotAttention(self.heads, self.width)
        self.mlp = MLP(self.tower, name="tower")

    def __call__(self, batch: Batch, train: bool = False) -> Output:
        return self.net(self.embed(batch), train)

    def embed(self, batch: Batch) -> Embedded:
        return self.embedder(batch)

    def net(self, e: Embedded, train: bool = False) -> Output:
        return Output(self.score(self.encode(e), e, train))

    def encode(self, e: Embedded) -> jax.Array:
        return e.history_BTE

    def score(self, state_BTE: jax.Array, e: Embedded, train: bool = False) -> jax.Array:
        interest_BKE = self.attention(e.candidate_BKE, state_BTE, e.mask_BT)
        return self.mlp(tower_input([interest_BKE], e), e.mask_BK, train)
