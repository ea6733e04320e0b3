"""The interest explorer: for some users of a split, what each run makes of their history, event by event."""

from collections.abc import Mapping, Sequence

import numpy as np

from dienjax.report.cases import Cases, cases
from dienjax.report.evolution import FREQUENT, Evolution, evolve, frequent_behaviours
from dienjax.report.explorer_chart import explorer_chart
from dienjax.report.naming import Names
from dienjax.report.scored import Scored, named
from dienjax.report.section import Chart, Json, Section, Table
from dienjax.report.truth import Interests, Truth, following, interests_of

READING = (
    "Choose a user and a candidate. A row is an event of the history, oldest first, and shows what is known once it "
    "has happened; the first row is the time before."
)
COLUMNS = {
    "weight_UKT": ("attention", "how much the event counts for the candidate"),
    "gate_UKT": ("update gate", "how far the interest evolution lets the event in (an AUGRU's a·u), a mean over units"),
    "left_UKT": ("left at the end", "how much of that no later event has overwritten"),
    "probability_UKP": ("probability so far", "what is predicted for the candidate from the history up to this event"),
    "surprise_UT": (
        "surprise",
        "−log of how probable the auxiliary loss holds this event to be the next, in nats: long bars are events that "
        "the interest extractor did not expect",
    ),
    "nearest": (
        "expected next",
        "the items nearest to the last interest state, by the logit of the auxiliary loss that they come next, among "
        f"the {FREQUENT:,} most frequent ones",
    ),
}
"""What the chart shows if an `Evolution` has it."""
TRUE = (
    "true interest",
    "how probable each category is behind the next event, which a generated world knows: the stronger the colour, the "
    "more probable. Dots are the events' own categories, the frame is the candidate's; the bars behind its probability "
    "are how probable its category is",
)


def explorer(
    scored: Sequence[Scored],
    names: Names,
    users: Sequence[str] | None = None,
    seed: int = 0,
    truth: Truth | None = None,
) -> Section:
    """The section of the page in which people look at single users.

    Args:
      scored: runs on the same split of one store.
      users: raw values of users to show, as text; otherwise some are chosen, as `dienjax.report.cases.cases` says.
      truth: the world that generated the store's log, if one did.

    Raises:
      ValueError: a user who has no sample in the split.
      ModuleNotFoundError: Altair is not installed.
    """
    store = scored[0].store
    chosen = cases(scored, users, seed)
    frequent = frequent_behaviours(store)
    runs = {name: evolve(one, chosen, frequent) for name, one in named(scored).items()}
    interests = None if truth is None else interests_of(truth, store, chosen)
    numbers: dict[str, Json] = {"users": numbers_of(scored[0], names, chosen, runs, interests)}
    there = [text for name, text in COLUMNS.items() if any(getattr(run, name) is not None for run in runs.values())]
    blocks: list[Chart | Table] = [
        Chart(
            "explorer",
            "Users and their histories",
            explorer_chart(numbers["users"], [*store.events], scored[0].task == "regression"),
            "For a user and a candidate that you choose: the events of the history in rows, and in columns what the "
            "model makes of each event",
        ),
        Table("What the columns show", ["column", "meaning"], [*there, *([TRUE] if truth else [])]),
    ]
    if interests is not None:
        numbers["following"] = {
            name: following(run.probability_UKP, interests.candidate_UKP) for name, run in runs.items()
        }
        blocks.append(
            Table(
                "How well the probability of a candidate follows the true interest in its category as a history grows: "
                "the mean rank correlation of these users' candidates, 1 at best",
                ["run", "rank correlation"],
                [*map(list, numbers["following"].items())],
            )
        )
    return Section("explorer", "How an interest evolves", READING, blocks, numbers)


def numbers_of(
    scored: Scored, names: Names, cases: Cases, runs: Mapping[str, Evolution], interests: Interests | None
) -> list[Json]:
    """What the chart shows of each user, unrounded: the events, the candidates, and each run's view of them."""
    store, users = scored.store, []
    for u, user in enumerate(names.user(cases.user_U)):
        length, count = int(cases.length_U[u]), int(cases.mask_UK[u].sum())
        event_T = cases.event_UT[u, :length]
        fields = [*store.events, *(name for name in cases.candidate if name not in store.events)]
        candidate = {name: cases.candidate[name][u, :count] for name in fields}
        events = names.rows({name: column[event_T] for name, column in store.events.items()})
        times = names.time(store.time_E[event_T])
        users.append({
            "user": user,
            "chosen": cases.why[u],
            "earlier_events": int(cases.end_U[u] - length - store.offsets[cases.user_U[u]]),
            "events": [{"time": t, "values": values} for t, values in zip(times, events, strict=True)],
            "candidates": [
                {"values": values, "label": float(label)}
                for values, label in zip(names.rows(candidate), cases.label_UK[u], strict=False)
            ],
            "runs": {name: _run(names, run, u, count, length) for name, run in runs.items()},
        })  # fmt: skip
        if interests is not None:
            users[-1]["interest"] = {
                "probability": _plain(interests.interest_UPC[u, : length + 1]),
                "of_candidates": _plain(interests.candidate_UKP[u, :count, : length + 1]),
                "event_category": _known(interests.category_UT[u, :length]),
                "candidate_category": _known(interests.category_UK[u, :count]),
            }
    return users


def _run(names: Names, run: Evolution, u: int, count: int, length: int) -> Json:
    """A run's numbers for one user, without padding; None for what its model has not."""

    def cut(array_UKT: np.ndarray | None) -> Json:
        return None if array_UKT is None else _plain(array_UKT[u, :count, :length])

    expected = None
    if run.nearest is not None and run.logit_U5 is not None:
        there = ~np.isnan(run.logit_U5[u])
        values = names.rows({name: id_U5[u, there] for name, id_U5 in run.nearest.items()})
        logits = _plain(run.logit_U5[u, there])
        expected = [{"values": v, "logit": z} for v, z in zip(values, logits, strict=True)]
    return {
        "probability": _plain(run.probability_UKP[u, :count, : length + 1]),
        "attention": cut(run.weight_UKT),
        "gate": cut(run.gate_UKT),
        "left": cut(run.left_UKT),
        "surprise": None if run.surprise_UT is None else _plain(run.surprise_UT[u, :length]),
        "expected": expected,
    }


def _known(category_X: np.ndarray) -> list[int | None]:
    return [None if category < 0 else category for category in category_X.tolist()]


def _plain(array: np.ndarray) -> Json:
    """Nested lists with None for NaN; a float32 as the shortest decimal number that means it."""
    if array.ndim:
        return [_plain(row) for row in array]
    return None if np.isnan(array) else float(str(array))
