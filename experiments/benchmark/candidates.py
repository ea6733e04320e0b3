"""Scoring the candidates of one user: dienjax, K candidates in one row, beside the libraries, K rows."""

import statistics
import tempfile
from pathlib import Path
from typing import Annotated, Any

from experiments.benchmark import measure, report
from experiments.benchmark.goals import Goal, checked
from experiments.benchmark.setting import LIBRARIES, PACKAGES, T

HERE = "experiments.benchmark.candidates"
COLUMNS = {
    "histories": "histories",
    "K": "K",
    "what": "what",
    "ms": "a user, ms",
    "times_faster": "times faster than the faster library",
}

GOALS = (
    Goal({"what": "dienjax", "histories": "T = 50", "K": 200}, "times_faster", 4, least=True),
    Goal({"what": "dienjax", "histories": "of the store", "K": 200}, "times_faster", 10, least=True),
)


def main(
    store: Path | None = None,
    events: int = 300_000,
    K: Annotated[tuple[int, ...], ...] = (1, 10, 50, 200, 1000),
    users: int = 40,
    rounds: int = 3,
    seconds: float = 1.0,
    seed: int = 0,
    results: Path = measure.ROOT / "experiments/benchmark/results",
) -> None:
    """Measure scoring one user against the number of candidates: a full history of 50, and those of a store's users.

    dienjax computes the interests once and pads a history as its loader would; the libraries get one row per candidate,
    padded to 50, made before the clock starts. "of the store": the mean over users of its test split, one after the
    other. The libraries take turns; medians of the calls of a process, then of the rounds.

    Args:
      store: prepared store; a generated log if not given.
      events: size of the generated log.
      K: numbers of candidates.
      users: users drawn from the store.
      rounds: processes of each library.
      seconds: duration of each measurement.
      seed: seed of the draws and of the generated log.
      results: folder for candidates.json and candidates.png.
    """
    about = measure.machine(*PACKAGES)
    left_out = measure.left_out(LIBRARIES)
    with tempfile.TemporaryDirectory() as folder:
        path = str(store.absolute()) if store else f"{folder}/store"
        if not store:
            measure.in_child("experiments.benchmark.ours:prepared", out=path, events=events, seed=seed)
        drawn = {"store": path, "users": users, "seed": seed}
        histories = measure.in_child(f"{HERE}:drawn_histories", **drawn).answer
    given = {"histories": histories, "K": K, "seconds": seconds, "seed": seed}
    cases = {"dienjax": (f"{HERE}:ours", given)}
    for library in LIBRARIES:
        if library not in left_out:
            cases[library] = (f"{HERE}:theirs", given | {"library": library})
    measured = measure.in_turn(cases, rounds)
    rows = []
    for at, (of, count) in enumerate((name, k) for name in ("T = 50", "of the store") for k in K):
        ms = {what: statistics.median(cost.answer[at] for cost in costs) for what, costs in measured.items()}
        others = [ms[library] for library in LIBRARIES if library in ms]
        for what in ms:
            row = {"histories": of, "K": count, "what": what, "ms": round(ms[what], 3)}
            rows.append(
                row | ({"times_faster": round(min(others) / ms[what], 1)} if others and what == "dienjax" else {})
            )
    facts = {"machine": about, "store": store.name if store else f"{events} events", "drawn": histories, "seed": seed}
    panels = [
        report.Panel(
            f"histories: {name}; a user, ms", report.lines([r for r in rows if r["histories"] == name], "K", "ms")
        )
        for name in ("T = 50", "of the store")
    ]
    figure = report.Figure("Scoring the candidates of a user", "K", panels)
    goals = checked(GOALS, rows, COLUMNS)
    report.publish(results / "candidates", facts, rows, COLUMNS, goals, left_out.values(), figure)


def drawn_histories(store: str, users: int, seed: int) -> list[tuple[int, int]]:
    """The (length, slots) of the histories of users drawn from the test split, at most 50, as our loader pads them."""
    import numpy as np

    from dienjax.training.evaluation import eval_loader
    from experiments.benchmark.ours import config, split

    loader = eval_loader(split(store, "test", config()), 1, config().data.lengths)
    index_N = np.random.default_rng(seed).choice(len(loader.group_N), users)
    slots_N = np.array(loader.lengths)[loader.group_N[index_N]]
    return list(zip(loader.dataset.length_N[index_N].tolist(), slots_N.tolist(), strict=True))


def ours(histories: list[tuple[int, int]], K: list[int], seconds: float, seed: int) -> list[float]:
    """Milliseconds per user at each K: of a full history, then the mean over these (length, slots)."""
    from experiments.benchmark.ours import batch, config, schema, scoring
    from experiments.benchmark.setting import SIZES

    model = config().model.build(schema(SIZES))

    def call(of: list[tuple[int, int]], candidates: int) -> Any:
        return scoring(model, [batch(one, negatives=False) for one in requests(of, candidates, seed)])

    return [measure.median_ms(call(of, k), seconds, 3) / len(of) for of in ([(T, T)], histories) for k in K]


def theirs(histories: list[tuple[int, int]], K: list[int], seconds: float, seed: int, library: str) -> list[float]:
    """The same for a library, whose histories have 50 slots."""
    from experiments.benchmark.setting import SIZES
    from experiments.benchmark.theirs import build, scoring

    model, padded = build(library, SIZES, T), [(length, T) for length, _ in histories]

    def call(of: list[tuple[int, int]], candidates: int) -> Any:
        return scoring(model, requests(of, candidates, seed))

    return [measure.median_ms(call(of, k), seconds, 3) / len(of) for of in ([(T, T)], padded) for k in K]


def requests(histories: list[tuple[int, int]], K: int, seed: int) -> list[dict[str, Any]]:
    """Random columns of one user each, with histories of these (length, slots)."""
    import numpy as np

    from experiments.benchmark.setting import SIZES, drawn

    rng = np.random.default_rng(seed)
    return [drawn(SIZES, np.array([length]), slots, K, rng) for length, slots in histories]
