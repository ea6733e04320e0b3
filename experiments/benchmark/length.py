"""A training step against the length of histories: dienjax beside deepctr-torch and torch-rechub."""

import math
import statistics
from pathlib import Path
from typing import Annotated, Any

from experiments.benchmark import measure, report
from experiments.benchmark.goals import Goal, checked
from experiments.benchmark.setting import LIBRARIES, PACKAGES

HERE = "experiments.benchmark.length"
COLUMNS = {
    "T": "T",
    "what": "what",
    "ms": "step, ms",
    "rows_per_s": "rows/s",
    "growth": "times T / 2",
    "exponent": "exponent",
    "times_faster": "times the faster library",
}

GOALS = (Goal({"what": "dienjax"}, "growth", 2.1),)


def main(
    lengths: Annotated[tuple[int, ...], ...] = (8, 16, 32, 64, 128, 256, 512),
    theirs_longest: int = 256,
    histories: int = 64,
    rounds: int = 3,
    seconds: float = 1.0,
    results: Path = measure.ROOT / "experiments/benchmark/results",
) -> None:
    """Measure a training step against T, all histories full, two candidates each (the libraries: two rows).

    Each process measures one library at every T; the libraries take turns. Medians of the steps of a process, then of
    the rounds. "exponent" is the logarithm to base 2 of "times T / 2": 1 is linear.

    Args:
      lengths: history lengths, each twice the one before.
      theirs_longest: the longest that the libraries get.
      histories: histories per batch.
      rounds: processes of each library.
      seconds: duration of each measurement.
      results: folder for length.json and length.png.
    """
    about = measure.machine(*PACKAGES)
    left_out = measure.left_out(LIBRARIES)
    given = {"histories": histories, "seconds": seconds}
    cases = {"dienjax": (f"{HERE}:ours", given | {"lengths": lengths})}
    shorter = [T for T in lengths if theirs_longest >= T]
    for library in LIBRARIES:
        if library not in left_out and shorter:
            cases[library] = (f"{HERE}:theirs", given | {"lengths": shorter, "library": library})
    rows: list[dict[str, Any]] = []
    for what, costs in measure.in_turn(cases, rounds).items():
        medians = map(statistics.median, zip(*(cost.answer for cost in costs), strict=True))
        rows += grown([{"T": T, "what": what, "ms": ms} for T, ms in zip(lengths, medians, strict=False)])
    for row in rows:
        row["rows_per_s"] = round(2 * histories / row["ms"] * 1e3)
        others = [r["ms"] for r in rows if r["T"] == row["T"] and r["what"] in LIBRARIES]
        if others and row["what"] == "dienjax":
            row["times_faster"] = round(min(others) / row["ms"], 1)
    rows = sorted(rows, key=lambda row: row["T"])
    facts = {"machine": about, "histories": histories, "rounds": rounds}
    panel = report.Panel("training step, ms", report.lines(rows, "T", "ms"))
    figure = report.Figure(f"{histories} histories with two candidates", "T", [panel])
    report.publish(results / "length", facts, rows, COLUMNS, checked(GOALS, rows, COLUMNS), left_out.values(), figure)


def grown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one library by growing T, each with its time over that at half its T."""
    of = {row["T"]: row["ms"] for row in rows}
    for row in rows:
        if before := of.get(row["T"] / 2):
            row |= {"growth": round(row["ms"] / before, 2), "exponent": round(math.log2(row["ms"] / before), 2)}
    return rows


def ours(lengths: list[int], histories: int, seconds: float) -> list[float]:
    """The milliseconds of a step at each length."""
    from experiments.benchmark.ours import batch, config, schema, training
    from experiments.benchmark.setting import SIZES, full

    of, fed = config(), [batch(full(histories, T)) for T in lengths]
    model = of.model.build(schema(SIZES))
    return [measure.median_ms(training(model, of.loss, [one]), seconds) for one in fed]


def theirs(lengths: list[int], histories: int, seconds: float, library: str) -> list[float]:
    """The same for a library."""
    from experiments.benchmark.setting import SIZES, full
    from experiments.benchmark.theirs import adam, build, training

    def step(T: int) -> Any:
        model = build(library, SIZES, T)
        return training(library, model, [full(histories, T)], [adam(model.parameters())])

    return [measure.median_ms(step(T), seconds) for T in lengths]
