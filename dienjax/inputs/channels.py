"""Which channel an event is in, and which of a history's events its channels keep."""

import numpy as np

from dienjax.schema import Schema

NONE = -1
"""The number of a channel for an event that is in none."""


def numbers(schema: Schema) -> np.ndarray:
    """The number of the channel [V] (int8) of each id of the type, `NONE` for those of no channel."""
    number_V = np.full(schema.sizes()[schema.type], NONE, np.int8)
    for number, channel in enumerate(schema.channels):
        number_V[list(channel.ids)] = number
    return number_V


def kept(schema: Schema, id_M: np.ndarray, length_N: np.ndarray) -> np.ndarray:
    """Whether each event [M] is one of the most recent of its channel, in N histories one after the other.

    Args:
      id_M: the ids of the events' types, those of a history oldest first.
      length_N: how many events each history has.
    """
    number_M, history_M = numbers(schema)[id_M], np.repeat(np.arange(len(length_N)), length_N)
    kept_M = np.zeros(len(id_M), bool)
    for number, channel in enumerate(schema.channels):
        at = np.flatnonzero(number_M == number)
        end_N = np.cumsum(np.bincount(history_M[at], minlength=len(length_N)))
        kept_M[at] = np.arange(len(at)) >= end_N[history_M[at]] - channel.most
    return kept_M
