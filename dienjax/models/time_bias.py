"""What the time of a behaviour adds to its attention score."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from dienjax.errors import nearest
from dienjax.models.fields import Part, columns_of
from dienjax.models.layers import per_unit
from dienjax.schema import Schema


class TimeBias(nn.Module):
    """w·v, with v the vector of the bucket of a behaviour's time and w learned.

    So each bucket, as of the gap to the candidate, has a number of its own, like the relative position biases of T5. It
    stands for the temporal part of TIN (Zhou et al. 2023, arXiv 2308.08487), which adds a vector of the position or of
    the gap to the behaviour in attention and representation alike: here that is the field of time among the others,
    and this term is beside it. w starts at 0, where the attention is that without the term.
    """

    time: Part

    @nn.compact
    def __call__(self, history_BTE: jax.Array) -> jax.Array:
        """-> bias_BT."""
        time_BTD = self.time.of(history_BTE)
        weight_D = self.param("weight", nn.initializers.zeros, time_BTD.shape[-1:])
        return jnp.sum(time_BTD * per_unit(weight_D, time_BTD), axis=-1)


def time_bias(schema: Schema, field: str) -> Callable[[jax.Array], jax.Array | None]:
    """The term of a field of time, for the `setup` of a module; none without a field."""
    return TimeBias(time_field(schema, field), name="attention_time") if field else lambda history_BTE: None


def time_field(schema: Schema, name: str) -> Part:
    """The columns of the field of time of this name.

    Raises:
      ValueError: the schema has no such field.
    """
    times = [f.name for f in schema.time_fields]
    if name not in times:
        raise ValueError(
            f"attention_time={name!r} is no field that is derived from the time; {nearest(name, times)}: prepare the "
            "log with it (time_fields), or leave attention_time out"
        )
    return columns_of(schema)[[f.name for f in schema.event_fields].index(name)]
