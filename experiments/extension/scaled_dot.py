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
    """softmax(q·k / √d)·v over the real behaviours (Vaswani et al. 2017), [B, K, heads · width]; 0 for none."""

    heads: int
    width: int

    @nn.compact
    def __call__(self, query_BKE: jax.Array, key_BTE: jax.Array, mask_BT: jax.Array) -> jax.Array:
        interests = []
        for head in range(self.heads):
            query_BKD = nn.Dense(self.width, use_bias=False, name=f"query_{head}")(query_BKE)
            key_BTD = nn.Dense(self.width, use_bias=False, name=f"key_{head}")(key_BTE)
            value_BTD = nn.Dense(self.width, use_bias=False, name=f"value_{head}")(key_BTE)
            score_BKT = jnp.einsum("bkd,btd->bkt", query_BKD, key_BTD) * self.width**-0.5
            weight_BKT = nn.softmax(score_BKT, where=mask_BT[:, None])
            interests.append(jnp.einsum("bkt,btd->bkd", weight_BKT, value_BTD))
        return jnp.concatenate(interests, axis=-1)


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
