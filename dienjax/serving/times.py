"""Fields of time in requests: from when the events were, and from now, to the arrays of the graphs."""

import math
from collections.abc import Callable

import numpy as np

from dienjax.inputs.time_fields import candidate_ids, history_ids
from dienjax.schema import Schema
from dienjax.serving.encoding import Where

TIME, NOW = "time", "now"
"""What a request calls the times of the history (in a table: `hist_time`), and the time of the candidates."""


def times(where: Where, value_N: list) -> np.ndarray:
    """Encode times as float64: finite numbers in the unit of the log, or seconds since 1970 if it had dates."""
    for position, value in enumerate(value_N):
        number = value.item() if isinstance(value, np.generic) else value
        if type(number) not in (int, float) or not math.isfinite(number):
            raise TypeError(
                f"{where(position)} is {value!r}; expected a time as a finite number: in the unit of the log, or "
                "seconds since 1970 (UTC) if the log had dates"
            )
    return np.array(value_N, np.float64)


def time_ids(
    schema: Schema,
    time_M: np.ndarray,
    length_N: np.ndarray,
    now_N: np.ndarray,
    where: Callable[[int], str],
    dtype: np.dtype,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The ids [M] of all events of N histories, one history after the other, and those [N] of candidates of now.

    Args:
      length_N: how many events each history has.
      where: the name of a row, for error messages.
      dtype: of the ids.

    Raises:
      ValueError: times that do not ascend, or that are after now.
    """
    end_N = np.cumsum(length_N)
    row_M = np.repeat(np.arange(len(length_N)), length_N)
    now_M, place_M = now_N[row_M], end_N[row_M] - np.arange(len(time_M))
    next_M = np.where(place_M == 1, now_M, np.append(time_M, 0)[1:])
    if (wrong_M := next_M < time_M).any():
        m = int(np.argmax(wrong_M))
        after, expected = "", "times that ascend, oldest first"
        if place_M[m] == 1:
            after, expected = "now, ", "now at or after the last event"
        raise ValueError(
            f"{where(int(row_M[m]))}: an event at {time_M[m]:.15g} stands before {after}{next_M[m]:.15g}; "
            f"expected {expected}"
        )
    history = history_ids(schema, time_M, next_M, place_M, now_M)
    now = candidate_ids(schema, now_N)
    return {name: id_M.astype(dtype) for name, id_M in history.items()}, {
        n: id_N.astype(dtype) for n, id_N in now.items()
    }
