"""The loader alone: samples per second at T = 100 with two fields, a candidate and a history of negatives."""

import statistics
import tempfile
import time
from pathlib import Path

from experiments.benchmark import measure, report
from experiments.benchmark.goals import Goal, checked

COLUMNS = {
    "batch": "histories a batch",
    "what": "what",
    "samples": "samples",
    "mean_length": "mean length",
    "samples_per_s": "histories/s",
    "rows_per_s": "rows/s",
    "gb": "peak, GB",
}

GOALS = (Goal({"what": "negatives"}, "rows_per_s", 200_000, least=True),)
T = 100


def main(
    events: int = 3_000_000,
    batches: tuple[int, ...] = (64, 512),
    rounds: int = 3,
    seconds: float = 2.0,
    seed: int = 0,
    results: Path = measure.ROOT / "experiments/benchmark/results",
) -> None:
    """Measure the loader alone, T = 100: rows per second; a history with its positive and its negative is two rows.

    Args:
      events: size of the generated log; 15 of its users at a time are merged into one, with 128 events on average.
      batches: histories per batch.
      rounds: processes of each measurement.
      seconds: duration of each measurement.
      seed: seed of the log.
      results: folder for loader.json and loader.png.
    """
    about = measure.machine("dienjax", "numpy")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        store = f"{folder}/store"
        measure.in_child("experiments.benchmark.ours:prepared", out=store, events=events, seed=seed, merged=15)
        for batch in batches:
            given = {"store": store, "batch": batch, "seconds": seconds}
            cases = {
                what: ("experiments.benchmark.loader:ours", given | {"negatives": what == "negatives"})
                for what in ("negatives", "no negative histories")
            }
            for what, costs in measure.in_turn(cases, rounds).items():
                speed = statistics.median(cost.answer["samples_per_s"] for cost in costs)
                row = {"batch": batch, "what": what, **costs[0].answer, "samples_per_s": round(speed)}
                rows.append(row | {"rows_per_s": round(2 * speed), "gb": round(costs[0].gb, 3)})
    panel = report.Panel("rows/s", report.lines(rows, "batch", "rows_per_s"))
    figure = report.Figure("The loader alone, T = 100", "histories a batch", [panel])
    facts = {"machine": about, "events": events, "seed": seed}
    report.publish(results / "loader", facts, rows, COLUMNS, checked(GOALS, rows, COLUMNS), [], figure)


def ours(store: str, batch: int, seconds: float, negatives: bool) -> dict[str, float]:
    """Samples per second over whole epochs, the number of samples, and the mean length of their histories."""
    from dienjax import Loader, Store, StoreSplit

    loader = Loader(StoreSplit(Store.open(store), "train_all", max_len=T, auxiliary=negatives), batch, (T,))
    done, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < seconds:
        for planned, made in loader.epoch(0):
            assert made.mask_BT.shape == (batch, T)
            done += len(planned.index)
            if time.perf_counter() - start > seconds:
                break
    length_N = loader.dataset.length_N
    return {"samples_per_s": done / taken, "samples": len(length_N), "mean_length": round(float(length_N.mean()), 1)}
