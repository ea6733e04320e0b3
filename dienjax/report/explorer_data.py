"""The numbers of the interest explorer as small data sets for its chart: short names, few digits, nothing twice."""

from collections.abc import Sequence
from typing import Any

from dienjax.report.section import Json

DIGITS = 4


def datasets(users: Sequence[Json], behaviours: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """What `dienjax.report.explorer.numbers_of` gives, with an entry for each row of the chart in a list of its own.

    A history has one row before its first event, where what there is of events alone is 0, so that a scale has an end
    even without events; and one row for each event.

    users: u; n rows; d times; v0, v1, ... the behaviours. With a truth: e the events' categories, b how probable each
      category is, by row and category.
    candidates: u; k from 1 on, of m; c a number of its own; y label; v0, v1, ... its fields. With a truth: x its
      category, b how probable that is, by row.
    pairs: r run, u, c, k, m; p probability, a attention, g gate, l left, by row. [] is what a model has not.
    states: r, u; s surprise by row; the most expected: z logits, v0, v1, ... behaviours, q rows.
    """
    return {
        "users": [_user(u, user, behaviours) for u, user in enumerate(users)],
        "candidates": [_candidate(u, user, k) for u, user in enumerate(users) for k in range(len(user["candidates"]))],
        "pairs": [
            _pair(u, name, run, k)
            for u, user in enumerate(users)
            for name, run in user["runs"].items()
            for k in range(len(run["probability"]))
        ],
        "states": [
            _state(u, name, place, run, behaviours)
            for u, user in enumerate(users)
            for place, (name, run) in enumerate(user["runs"].items())
        ],
    }


def _user(u: int, user: Json, behaviours: Sequence[str]) -> dict[str, Any]:
    earlier, events = user["earlier_events"], user["events"]
    before = f"after {earlier:,} earlier events" if earlier else "before the first event"
    row = {"u": u, "n": len(events) + 1, "d": [before, *(event["time"] for event in events)]}
    row |= {f"v{i}": ["", *(event["values"][name] for event in events)] for i, name in enumerate(behaviours)}
    if "interest" in user:
        row |= {"e": [None, *user["interest"]["event_category"]], "b": _short(user["interest"]["probability"])}
    return row


def _candidate(u: int, user: Json, k: int) -> dict[str, Any]:
    candidate = user["candidates"][k]
    row = {"u": u, "c": _code(u, k), "k": k + 1, "m": len(user["candidates"]), "y": candidate["label"]}
    row |= {f"v{i}": value for i, value in enumerate(candidate["values"].values())}
    if "interest" in user:
        truth = user["interest"]
        row |= {"x": truth["candidate_category"][k], "b": _short(truth["of_candidates"][k])}
    return row


def _pair(u: int, name: str, run: Json, k: int) -> dict[str, Any]:
    row = {"r": name, "u": u, "c": _code(u, k), "k": k + 1, "m": len(run["probability"])}
    row |= {"p": _short(run["probability"][k])}
    return row | {part[0]: _rows(run[part], k) for part in ("attention", "gate", "left")}


def _code(u: int, k: int) -> int:
    """A number for each candidate of all."""
    return 100 * u + k


def _state(u: int, name: str, place: int, run: Json, behaviours: Sequence[str]) -> dict[str, Any]:
    expected = run["expected"] or []
    row = {"r": name, "u": u, "s": [] if run["surprise"] is None else [0, *_short(run["surprise"])]}
    row |= {"q": [place * 100 + i for i in range(len(expected))], "z": _short([e["logit"] for e in expected])}
    return row | {f"v{i}": [e["values"][behaviour] for e in expected] for i, behaviour in enumerate(behaviours)}


def _rows(part: Json, k: int) -> Json:
    """A candidate's numbers by row of the chart; none where the model has no such part."""
    return [] if part is None else [0, *_short(part[k])]


def _short(value: Json) -> Json:
    if isinstance(value, list):
        return [_short(each) for each in value]
    return None if value is None else round(value, DIGITS)
