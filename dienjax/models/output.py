"""What every model returns, and what every tower sees."""

import jax
from flax import struct

from dienjax.models.embedding import Embedded


@struct.dataclass
class Auxiliary:
    """Logits of the next behaviour and of its sampled negative given the interest state; S = T − 1 steps.

    Attributes:
      slot_BS: in which slot of the history the next behaviour stands; None: in 1 to T − 1, as the steps.
    """

    positive_logit_BS: jax.Array
    negative_logit_BS: jax.Array
    mask_BS: jax.Array
    slot_BS: jax.Array | None = None


@struct.dataclass
class Output:
    """Logits, never probabilities, never losses."""

    logit_BK: jax.Array
    auxiliary: Auxiliary | None = None


def tower_input(interests: list[jax.Array], e: Embedded) -> tuple[jax.Array, ...]:
    """[interest, candidate, user, context] side by side (DIEN, section 4.1), for `MLP`; the user's is [B, 1, U]."""
    return *interests, e.candidate_BKE, e.user_BU[:, None], e.context_BKC
