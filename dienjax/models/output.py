"""What every model returns, and what every tower sees."""

import jax
import jax.numpy as jnp
from flax import struct

from dienjax.layers import Embedded


@struct.dataclass
class Auxiliary:
    """Logits of the next behaviour and of its sampled negative given the interest state; S = T − 1 steps."""

    positive_logit_BS: jax.Array
    negative_logit_BS: jax.Array
    mask_BS: jax.Array


@struct.dataclass
class Output:
    """Logits, never probabilities, never losses."""

    logit_BK: jax.Array
    auxiliary: Auxiliary | None = None


def tower_input(interest_BKH: jax.Array, e: Embedded) -> jax.Array:
    """[interest, candidate, user, context] side by side (DIEN paper, section 4.1), user repeated per candidate."""
    K = e.mask_BK.shape[1]
    user_BKU = jnp.repeat(e.user_BU[:, None], K, axis=1)
    parts = [interest_BKH, e.candidate_BKE, user_BKU, e.context_BKC]
    return jnp.concatenate([part for part in parts if part.shape[-1]], axis=-1)
