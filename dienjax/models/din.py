"""DIN, the Deep Interest Network (Zhou et al., KDD 2018): past behaviours weighed by attention to the candidate."""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dienjax.batch import Batch
from dienjax.models.embedding import Embedded, FeatureEmbedder
from dienjax.models.fields import Fields, history, moved, parts_of
from dienjax.models.layers import MLP, Activation, AttentionHidden, BatchNorm, Head, TargetAttention
from dienjax.models.matmul import Dtype, einsum
from dienjax.models.output import Output, tower_input
from dienjax.models.settings import Share, Widths
from dienjax.models.time_bias import time_bias, time_field
from dienjax.schema import Schema


class DIN(nn.Module):
    """DIN. `softmax=False` keeps the intensity of interest, as the paper does; the authors' later code normalises.

    Variants by their source: `fields="separate"` attends to each behaviour field on its own, as torch-rechub does, and
    `padding="torch_rechub"` lets padded behaviours take part, as its DIN does: the result then depends on T.
    `batch_norm="torch"` is nn.BatchNorm1d; `head="author"` has two outputs under a softmax.

    `attention_time` names a field of time, such as "gap": its vector times learned weights, so a number for each of its
    buckets, is added to the attention scores of a behaviour, before the softmax if there is one.

    `dtype="bfloat16"` rounds the factors of matrix products, also in gradients. Their sums, and all else, stay float32.
    """

    schema: Schema
    softmax: bool = False
    fields: Fields = "joined"
    padding: Literal["masked", "torch_rechub"] = "masked"
    attention_hidden: AttentionHidden = (80, 40)
    attention_activation: Activation = "dice"
    attention_batch_norm: BatchNorm = False
    attention_time: str = ""
    tower: Widths = (200, 80)
    tower_activation: Activation = "dice"
    batch_norm: BatchNorm = False
    dropout: Share = 0.0
    head: Head = "one"
    dtype: Dtype = "float32"

    def __post_init__(self) -> None:
        parts_of(self.schema, self.fields)
        if self.schema.channels and self.padding != "masked":
            raise ValueError(f'DIN: padding="{self.padding}" with channels; expected padding="masked": leave it out')
        if self.attention_time:
            time_field(self.schema, self.attention_time)
        super().__post_init__()

    def setup(self) -> None:
        self.embedder = FeatureEmbedder(self.schema)
        self.attentions = [
            TargetAttention(
                "mlp",
                self.attention_hidden,
                self.attention_activation,
                self.softmax,
                self.attention_batch_norm,
                self.dtype,
                name=f"attention{part.suffix}",
            )
            for part in parts_of(self.schema, self.fields)
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

    def __call__(self, batch: Batch, train: bool = False) -> Output:
        return self.net(self.embed(batch), train)

    def embed(self, batch: Batch) -> Embedded:
        return self.embedder(batch)

    def net(self, e: Embedded, train: bool = False) -> Output:
        seen = [history(part, e) for part in parts_of(self.schema, self.fields)]
        bias_BT = self.time_bias(e.history_BTE)
        biases = [moved(bias_BT, h.slot_BS) for h in seen]
        return Output(self._logits([h.event_BSE for h in seen], [h.mask_BS for h in seen], biases, e, train))

    def encode(self, e: Embedded) -> jax.Array:
        """What no candidate changes, once per history: the behaviours themselves, [B, T, E]."""
        return e.history_BTE

    def score(self, state_BTE: jax.Array, e: Embedded, train: bool = False) -> jax.Array:
        """logit_BK of the candidates, given an encoded history; `e.history_BTE` is not read."""
        parts = parts_of(self.schema, self.fields)
        biases = [self.time_bias(state_BTE)] * len(parts)
        return self._logits([part.of(state_BTE) for part in parts], [part.mask(e) for part in parts], biases, e, train)

    def _logits(
        self,
        keys: list[jax.Array],
        masks: list[jax.Array],
        biases: Sequence[jax.Array | None],
        e: Embedded,
        train: bool,
    ) -> jax.Array:
        """logit_BK, given the behaviours [B, S, E] that each part sees, their mask and the term of time [B, S]."""
        interests = []
        parts = zip(parts_of(self.schema, self.fields), self.attentions, keys, masks, biases, strict=True)
        for part, attention, key_BSE, real_BS, bias_BS in parts:
            mask_BS = real_BS if self.padding == "masked" else jnp.ones_like(real_BS)
            weight_BKS = attention(part.of(e.candidate_BKE), key_BSE, e.mask_BK, mask_BS, train, bias_BS)
            interests.append(einsum("bks,bse->bke", weight_BKS, key_BSE, self.dtype))
        logit_BK: jax.Array = self.mlp(tower_input(interests, e), e.mask_BK, train)
        return logit_BK
