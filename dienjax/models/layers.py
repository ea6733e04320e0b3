"""The feed-forward building blocks: masked batch norm, Dice, PReLU, MLP, attention to the candidate."""

from functools import partial, reduce
from itertools import accumulate
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from pydantic import Field

from dienjax.models.matmul import Dtype, by_row, einsum, multiply, rounded
from dienjax.models.parts import bernoulli, sum_of_parts
from dienjax.models.settings import Widths

Activation = Literal[
    "relu", "sigmoid", "tanh", "prelu", "dice", "prelu_torch", "dice_deepctr_torch", "dice_torch_rechub"
]  # fmt: skip
BatchNorm = bool | Literal["torch"]
"""True: statistics over the real positions. "torch": as nn.BatchNorm1d, over all of them, padded ones too."""
Head = Literal["one", "author"]
"""One logit; or, in the authors' TensorFlow code, two under a softmax: the logit is then their difference."""


def per_unit(vector_F: jax.Array, x: jax.Array) -> jax.Array:
    """vector_F with as many axes as x [..., F]: broadcasting on purpose, so that tests can forbid it by accident."""
    return vector_F.reshape((1,) * (x.ndim - 1) + vector_F.shape)


class MaskedBatchNorm(nn.Module):
    """Batch normalisation per unit, with statistics over the real positions only.

    A batch without a real position leaves the running statistics alone and is normalised by them. `torch` is
    nn.BatchNorm1d: padded positions count too, and the running variance is the unbiased one.
    """

    affine: bool = True
    momentum: float = 0.99
    epsilon: float = 1e-5
    torch: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """x [..., F], mask [...] (broadcastable, True = real) -> [..., F]."""
        width = x.shape[-1]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (width,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (width,))
        mean_F, var_F = running_mean.value, running_var.value
        if train:
            mask = jnp.ones_like(mask) if self.torch else mask
            where = jnp.broadcast_to(mask[..., None], x.shape)
            count = sum_of_parts(jnp.sum(jnp.broadcast_to(mask, x.shape[:-1])))

            def mean(y: jax.Array) -> jax.Array:
                """Over the real positions of the whole batch; 0 if there are none."""
                total_F = sum_of_parts(jnp.sum(y, range(x.ndim - 1), where=where))
                return total_F / jnp.maximum(count, 1).astype(y.dtype)

            batch_mean_F = mean(x)
            batch_var_F = mean(jnp.square(x - per_unit(batch_mean_F, x)))
            mean_F = jnp.where(count > 0, batch_mean_F, mean_F)
            var_F = jnp.where(count > 0, batch_var_F, var_F)
            if not self.is_initializing():
                running_mean.value += (1 - self.momentum) * (mean_F - running_mean.value)
                unbiased_F = var_F * (count / jnp.maximum(count - 1, 1)).astype(x.dtype) if self.torch else var_F
                running_var.value += (1 - self.momentum) * (unbiased_F - running_var.value)
        y = (x - per_unit(mean_F, x)) * per_unit(jax.lax.rsqrt(var_F + self.epsilon), x)
        if not self.affine:
            return y
        scale_F = self.param("scale", nn.initializers.ones, (width,))
        bias_F = self.param("bias", nn.initializers.zeros, (width,))
        return y * per_unit(scale_F, x) + per_unit(bias_F, x)


class Dice(nn.Module):
    """Dice (DIN paper, eq. 9): p·x + (1 − p)·α·x with p = σ(x normalised over the batch), α learned per unit.

    As in DeepCTR and FuxiCTR the normalisation has no scale or shift; statistics skip padded positions.
    """

    momentum: float = 0.99
    epsilon: float = 1e-8

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        alpha_F = self.param("alpha", nn.initializers.zeros, x.shape[-1:])
        gate = nn.sigmoid(MaskedBatchNorm(False, self.momentum, self.epsilon, name="norm")(x, mask, train))
        return x * (gate + (1 - gate) * per_unit(alpha_F, x))


class DiceDeepCTRTorch(nn.Module):
    """Dice as in deepctr-torch 0.3.0: its batch norm has a scale and a shift, and counts padded positions."""

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        alpha_F = self.param("alpha", nn.initializers.zeros, x.shape[-1:])
        gate = nn.sigmoid(MaskedBatchNorm(True, 0.9, 1e-8, torch=True, name="norm")(x, mask, train))
        return x * (gate + (1 - gate) * per_unit(alpha_F, x))


class DiceTorchRechub(nn.Module):
    """ "Dice" as in torch-rechub 0.9.0: each row is normalised over its own units, by a sum; one α for all units."""

    epsilon: float = 1e-3

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        alpha = self.param("alpha", nn.initializers.normal(1.0), (1,))
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        gate = nn.sigmoid(centred * jax.lax.rsqrt(jnp.sum(centred**2 + self.epsilon, axis=-1, keepdims=True)))
        return x * (gate + (1 - gate) * per_unit(alpha, x))


class Activate(nn.Module):
    """The activation of the given name."""

    kind: Activation

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        if self.kind == "dice":
            return Dice(name="dice")(x, mask, train)
        if self.kind == "dice_deepctr_torch":
            return DiceDeepCTRTorch(name="dice")(x, mask, train)
        if self.kind == "dice_torch_rechub":
            return DiceTorchRechub(name="dice")(x)
        if self.kind == "prelu":
            # Per unit, starting at 0.1, as in the authors' code.
            return prelu(self.param("alpha", nn.initializers.constant(0.1), x.shape[-1:]), x)
        if self.kind == "prelu_torch":
            # One slope for all units, as in nn.PReLU().
            return prelu(self.param("alpha", nn.initializers.constant(0.25), (1,)), x)
        return {"relu": nn.relu, "sigmoid": nn.sigmoid, "tanh": nn.tanh}[self.kind](x)


def prelu(slope_F: jax.Array, x: jax.Array) -> jax.Array:
    """x where it is positive, slope·x elsewhere."""
    return jnp.where(x > 0, x, per_unit(slope_F, x) * x)


class Dense(nn.Module):
    """A dense layer over vectors side by side, which need not be concatenated: Σ x·W, one block of rows for each.

    A vector that many others share, such as a user's, may have axes of 1 in their place.
    """

    features: int
    use_bias: bool = True
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, *parts: jax.Array) -> jax.Array:
        """Each [..., F], F of its own -> [..., features]."""
        parts = tuple(x for x in parts if x.shape[-1])
        ends = list(accumulate(x.shape[-1] for x in parts))
        kernel = self.param("kernel", nn.initializers.glorot_uniform(), (ends[-1], self.features))
        blocks = jnp.split(kernel, ends[:-1])
        y = reduce(jnp.add, (by_row(x, block, self.dtype) for x, block in zip(parts, blocks, strict=True)))
        return y + per_unit(self.param("bias", nn.initializers.zeros, (self.features,)), y) if self.use_bias else y


class Dropout(nn.Module):
    """A share of the numbers at 0 in training, and the others divided by what is left, so that the mean stays."""

    share: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if not (train and self.share):
            return x
        kept = bernoulli(self.make_rng("dropout"), 1 - self.share, x.shape)
        return jnp.where(kept, x / (1 - self.share), 0)


class MLP(nn.Module):
    """Hidden layers (dense, batch norm if asked for, activation, dropout), then a dense layer to one number.

    `projected` says that the first hidden layer's dense part was done by the caller (who had a cheaper way).
    """

    hidden: tuple[int, ...]
    activation: Activation = "dice"
    batch_norm: BatchNorm = False
    dropout: float = 0.0
    projected: bool = False
    head: Head = "one"
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, x: jax.Array | tuple[jax.Array, ...], mask: jax.Array, train: bool) -> jax.Array:
        """x [..., F], or a tuple of such vectors side by side (see `Dense`), mask [...] -> [...]."""
        parts = x if isinstance(x, tuple) else (x,)
        for i, width in enumerate(self.hidden):
            x = parts[0] if i == 0 and self.projected else Dense(width, dtype=self.dtype, name=f"dense_{i}")(*parts)
            if self.batch_norm:
                torch = self.batch_norm == "torch"
                x = MaskedBatchNorm(momentum=0.9 if torch else 0.99, torch=torch, name=f"norm_{i}")(x, mask, train)
            x = Activate(self.activation, name=f"activation_{i}")(x, mask, train)
            parts = (Dropout(self.dropout)(x, train),)
        out = Dense(1 if self.head == "one" else 2, dtype=self.dtype, name="out")(*parts)
        return out[..., 0] if self.head == "one" else out[..., 0] - out[..., 1]


Attention = Literal["mlp", "bilinear", "author"]
AttentionHidden = Annotated[Widths, Field(min_length=1)]

MANY = 64
"""Candidates from which on `_product` is faster than `_sum` in onnxruntime."""


class TargetAttention(nn.Module):
    """How much each past behaviour matters to each candidate.

    `form="mlp"` scores [q, k, q−k, q⊙k] (DIN, figure 2; a query of another width than the keys is projected
    first), `form="author"` does so after a dense layer with PReLU on the query (the DIEN authors' TensorFlow code),
    `form="bilinear"` scores kᵀWq (DIEN, eq. 8). `softmax` normalises over the real behaviours (DIEN);
    without it the intensity of interest is kept (DIN, section 4.3). A padded behaviour weighs exactly 0, so an
    empty history has weights 0.

    `bias_BT` is added to the scores of a behaviour, the same for all candidates (see `time_bias.py`).
    """

    form: Attention = "mlp"
    hidden: tuple[int, ...] = (80, 40)
    activation: Activation = "dice"
    softmax: bool = True
    batch_norm: BatchNorm = False
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(
        self,
        query_BKE: jax.Array,
        key_BTH: jax.Array,
        mask_BK: jax.Array,
        mask_BT: jax.Array,
        train: bool,
        bias_BT: jax.Array | None = None,
    ) -> jax.Array:
        """-> weight_BKT."""
        if self.form == "bilinear":
            score_BKT = self._bilinear(query_BKE, key_BTH)
        else:
            mask_BTK = mask_BT[:, :, None] & mask_BK[:, None]
            score_BKT = self._mlp(query_BKE, key_BTH, mask_BTK, train).transpose(0, 2, 1)
        if bias_BT is not None:
            score_BKT += bias_BT[:, None, :]
        if self.softmax:
            weight_BKT = nn.softmax(score_BKT, where=mask_BT[:, None, :])
        else:
            weight_BKT = jnp.where(mask_BT[:, None, :], score_BKT, 0)
        self.sow("intermediates", "weight_BKT", weight_BKT)
        return weight_BKT

    def _bilinear(self, query_BKE: jax.Array, key_BTH: jax.Array) -> jax.Array:
        query_BKH = Dense(key_BTH.shape[-1], False, self.dtype, name="bilinear")(query_BKE)
        return einsum("bkh,bth->bkt", query_BKH, key_BTH, self.dtype)

    def _mlp(self, query_BKE: jax.Array, key_BTH: jax.Array, mask_BTK: jax.Array, train: bool) -> jax.Array:
        """-> score_BTK."""
        width = key_BTH.shape[-1]
        query_BKH = query_BKE
        if self.form == "author" or query_BKE.shape[-1] != width:
            query_BKH = Dense(width, dtype=self.dtype, name="query")(query_BKE)
        if self.form == "author":
            query_BKH = prelu(self.param("query_alpha", nn.initializers.constant(0.1), (width,)), query_BKH)
        glorot = nn.initializers.glorot_uniform()
        kernel = self.param("kernel", glorot, (4 * width, self.hidden[0]))
        bias_A = self.param("bias", nn.initializers.zeros, self.hidden[:1])
        x_BTKA = _project_pairs(query_BKH, key_BTH, kernel, bias_A, self.dtype)
        mlp = MLP(self.hidden, self.activation, self.batch_norm, projected=True, dtype=self.dtype, name="mlp")
        return mlp(x_BTKA, mask_BTK, train)


def _project_pairs(
    query_BKH: jax.Array, key_BTH: jax.Array, kernel: jax.Array, bias_A: jax.Array, dtype: Dtype = "float32"
) -> jax.Array:
    """[q, k, q−k, q⊙k]·W + b without the concatenation, [B, T, K, A]: q once per candidate, k once per behaviour.

    In an export K is symbolic: the graph then has two forms, and takes one by the number of candidates.
    """
    q, k, difference, product = jnp.split(kernel, 4)
    key_BTA = by_row(key_BTH, k - difference, dtype)
    arrays = query_BKH, key_BTH, key_BTA + per_unit(bias_A, key_BTA), q + difference, product
    K = query_BKH.shape[1]
    few, many = partial(_sum, dtype), partial(_product, dtype)
    return few(*arrays) if isinstance(K, int) else jax.lax.cond(jnp.asarray(K) < MANY, few, many, *arrays)


def _sum(
    dtype: Dtype,
    query_BKH: jax.Array,
    key_BTH: jax.Array,
    key_BTA: jax.Array,
    kernel_HA: jax.Array,
    product_HA: jax.Array,
) -> jax.Array:
    """q·Wq + k̂ + (q⊙k)·Wp, which XLA fuses."""
    pair_BTKA = by_row(query_BKH[:, None] * key_BTH[:, :, None], product_HA, dtype)
    return pair_BTKA + by_row(query_BKH, kernel_HA, dtype)[:, None] + key_BTA[:, :, None]


def _product(
    dtype: Dtype,
    query_BKH: jax.Array,
    key_BTH: jax.Array,
    key_BTA: jax.Array,
    kernel_HA: jax.Array,
    product_HA: jax.Array,
) -> jax.Array:
    """The same as [q, 1] times a matrix for each behaviour, [Wq + k⊙Wp; k̂]: no two arrays [B, T, K, A] are added."""
    matrix_BTHA = key_BTH[..., None] * product_HA[None, None] + kernel_HA[None, None]
    matrix_BTHA = jnp.concatenate([matrix_BTHA, key_BTA[:, :, None]], axis=2)
    query_BKH = jnp.concatenate([query_BKH, jnp.ones_like(query_BKH[..., :1])], axis=-1)
    return multiply(jnp.matmul, rounded(query_BKH[:, None], dtype), rounded(matrix_BTHA, dtype), dtype)
