"""Fields that the time of an event gives, so that no log needs to have them: gaps, the position, hour and weekday.

A candidate is an event of now with nothing after it: its gaps and its position are 0. A negative has what the behaviour
has that it stands for, so that no time tells the two apart.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from dienjax.errors import nearest
from dienjax.inputs.ids import between
from dienjax.schema import FIRST_ID, Behaviour, Schema, Table, Time

_SECONDS = tuple(2.0**n for n in range(29))
"""Powers of two from a second to 8.5 years; below a second is a bucket of its own, in which the candidate is."""

EDGES: Mapping[Time, tuple[float, ...]] = {
    "gap": _SECONDS,
    "next_gap": _SECONDS,
    "position": tuple(2.0**n for n in range(11)),
    "hour": tuple(map(float, range(1, 24))),
    "weekday": tuple(map(float, range(1, 7))),
}
"""The edges of each field if no others are given, in the unit of the log's times (dates: seconds)."""

HOUR, DAY = 3600, 86400
THURSDAY = 3
"""The weekday of 1970-01-01."""

CALENDAR = "hour", "weekday"
EARLIEST, LATEST = 10**8, 10**10
"""Plain numbers are taken as seconds since 1970 if the latest lies between these, in 1973 and in 2286."""


def number(time: Time, at_X: np.ndarray, next_X: np.ndarray, place_X: np.ndarray, now_X: np.ndarray) -> np.ndarray:
    """The numbers [...] of a field, for events at the times `at_X`.

    gap       from the event to now, the time of the candidate
    next_gap  from the event to the next one of the history, of the last one to now
    position  from the end, 1 for the latest
    hour      of the day, UTC, 0 to 23, also before 1970
    weekday   UTC, 0 for Monday

    Args:
      next_X: the time of the next event of the same history, of the last one now.
      place_X: its position from the end.
    """
    if time == "gap":
        return now_X - at_X
    if time == "next_gap":
        return next_X - at_X
    if time == "position":
        return place_X
    return at_X // HOUR % 24 if time == "hour" else (at_X // DAY + THURSDAY) % 7


def history_ids(
    schema: Schema, at_X: np.ndarray, next_X: np.ndarray, place_X: np.ndarray, now_X: np.ndarray
) -> dict[str, np.ndarray]:
    """The ids (int32) of past events by the name of each field; the arguments are those of `number`."""
    return {
        f.name: between(number(f.time, at_X, next_X, place_X, now_X), schema.table(f.table).edges)
        for f in schema.time_fields
        if f.time
    }


def candidate_ids(schema: Schema, now_X: np.ndarray) -> dict[str, np.ndarray]:
    """The ids (int32) of candidates at the times `now_X`."""
    return history_ids(schema, now_X, now_X, np.zeros(np.shape(now_X)), now_X)


def declared(times: Iterable[Time]) -> tuple[tuple[Table, ...], tuple[Behaviour, ...]]:
    """The tables and behaviours of fields with the edges of `EDGES`, each by its own name.

    Raises:
      ValueError: there is no such field.
    """
    times = tuple(times)
    for time in times:
        if time not in EDGES:
            raise ValueError(f"time field {time!r} does not exist; {nearest(str(time), EDGES)}")
    tables = tuple(Table(time, FIRST_ID + len(EDGES[time]) + 1, edges=EDGES[time]) for time in times)
    return tables, tuple(Behaviour(time, time=time) for time in times)


def check_calendar(times: Iterable[Time], latest: float) -> None:
    """Refuse hours and weekdays of plain numbers that are no seconds since 1970, by the latest of them.

    Raises:
      ValueError: it is not between the years 1973 and 2286.
    """
    for time in times:
        if time in CALENDAR and not EARLIEST <= latest <= LATEST:
            raise ValueError(
                f"time field {time!r} of times up to {latest:g}; expected dates, or seconds since 1970: convert the "
                f"times, or leave {time!r} out"
            )
