"""What an attention or a recurrence sees of a history: all events or those of a channel, all their fields or one."""

from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, TypeVar

import jax
import jax.numpy as jnp
from flax import struct

from dienjax.batch import Batch
from dienjax.models.embedding import Embedded
from dienjax.schema import Schema

Values = TypeVar("Values", jax.Array, jax.Array | None)
Fields = Literal["joined", "separate"]
"""joined: the fields of a behaviour are one vector (the papers, deepctr-torch); separate: as in torch-rechub."""


@dataclass(frozen=True)
class Part:
    """`width` columns of a behaviour's vector from `start` on, and what the names of their modules end with.

    Of a channel with the number `channel` the most recent `most` events; 0: of every event.
    """

    suffix: str
    start: int
    width: int
    channel: int = 0
    most: int = 0

    def of(self, x: jax.Array) -> jax.Array:
        """The part's columns [..., width] of joined vectors."""
        return x if self.width == x.shape[-1] else x[..., self.start : self.start + self.width]

    def mask(self, e: Embedded | Batch) -> jax.Array:
        """True where an event is real, and of the part's channel."""
        return e.mask_BT & (e.channel_BT == self.channel) if self.most else e.mask_BT


@struct.dataclass
class History:
    """What a part sees of B histories, S of their T slots, right-padded; `slot_BS` says which (None: all, in order)."""

    event_BSE: jax.Array
    mask_BS: jax.Array
    negative_BSE: jax.Array | None
    slot_BS: jax.Array | None


def parts_of(schema: Schema, fields: Fields) -> list[Part]:
    """One part for all behaviours side by side, or one for each; or one for each channel.

    Raises:
      ValueError: separate fields and channels.
    """
    if fields == "joined":
        width = sum(schema.width(f) for f in schema.event_fields)
        channels = [Part(f"_{c.name}", 0, width, i, c.most) for i, c in enumerate(schema.channels)]
        return channels or [Part("", 0, width)]
    if schema.channels:
        raise ValueError(
            f'fields="separate" with the channels {", ".join(c.name for c in schema.channels)}; expected '
            'fields="joined": leave it out, or prepare the log without channels'
        )
    return columns_of(schema)


def columns_of(schema: Schema) -> list[Part]:
    """One part for each field of an event."""
    widths = [schema.width(f) for f in schema.event_fields]
    starts = accumulate(widths, initial=0)
    return [Part(f"_{f.name}", s, w) for f, s, w in zip(schema.event_fields, starts, widths, strict=False)]


def history(part: Part, e: Embedded) -> History:
    """What a part sees, its events moved to the front: a channel's recurrence has as many steps as its own history."""
    if not part.most:
        negative_BTE = None if e.negative_BTE is None else part.of(e.negative_BTE)
        return History(part.of(e.history_BTE), e.mask_BT, negative_BTE, None)
    mask_BT = part.mask(e)
    T = mask_BT.shape[1]
    slot_BS = slots(mask_BT, min(part.most, T) if isinstance(T, int) else T)
    count_B = jnp.sum(mask_BT, axis=1)
    return History(
        moved(e.history_BTE, slot_BS),
        jnp.arange(slot_BS.shape[1])[None] < count_B[:, None],
        moved(e.negative_BTE, slot_BS),
        slot_BS,
    )


def moved(x_BT: Values, slot_BS: jax.Array | None) -> Values:
    """The values [B, S, ...] of the slots that a part sees, of [B, T, ...] for all slots; None stays None."""
    if x_BT is None or slot_BS is None:
        return x_BT
    return jnp.take_along_axis(x_BT, slot_BS.reshape(*slot_BS.shape, *(1,) * (x_BT.ndim - 2)), axis=1)


def slots(mask_BT: jax.Array, S: int) -> jax.Array:
    """Where the first S slots are that the mask selects, [B, S]; 0 for those that there are not."""
    place_BT = jnp.where(mask_BT, jnp.cumsum(mask_BT, axis=1) - 1, -1)
    here_BST = place_BT[:, None] == jnp.arange(S)[None, :, None]
    return jnp.sum(jnp.where(here_BST, jnp.arange(mask_BT.shape[1])[None, None], 0), axis=2)
