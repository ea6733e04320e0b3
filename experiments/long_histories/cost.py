"""Time and memory of a training step against the length of histories: AUGRU and minAUGRU, whole and in microbatches."""

import statistics
from pathlib import Path
from typing import Annotated, Any

from experiments.benchmark import measure, report
from experiments.benchmark.length import grown

KINDS = {"AUGRU": {}, "minAUGRU": {"kind": "minAUGRU"}, "both min": {"kind": "minAUGRU", "extractor": "minGRU"}}
WAYS = ("whole", "microbatches", "threads")
COLUMNS = {
    "T": "T",
    "what": "what",
    "ms": "step, ms",
    "growth": "times T / 2",
    "over": "times the whole step of the same T",
    "temporary_mb": "temporary, MB",
    "gb": "peak of the process, GB",
}


def main(
    lengths: Annotated[tuple[int, ...], ...] = (64, 128, 256, 512, 1024),
    histories: int = 256,
    rounds: int = 3,
    seconds: float = 1.0,
    results: Path = measure.ROOT / "experiments/results",
) -> None:
    """Measure a step of full histories with two candidates each, a process for each length, recurrence and way.

    "Whole" is one program over the batch, "microbatches" one that sees it a few histories at a time, "threads" what a
    run does: one such program for each core. "Temporary" is what XLA allocates beside state and batch, for one thread.

    Args:
      lengths: history lengths, each twice the one before.
      histories: histories per batch.
      rounds: processes of each case, in turn.
      seconds: duration of each measurement.
      results: folder for long_histories_cost.json and .png.
    """
    about = measure.machine("dienjax", "jax", "jaxlib", "flax")
    both = {"histories": histories, "seconds": seconds}
    cases = {
        f"{T}/{kind}, {way}": ("experiments.long_histories.cost:step", both | {"T": T, "kind": kind, "way": way})
        for T in lengths
        for kind in KINDS
        for way in WAYS
    }
    rows: list[dict[str, Any]] = []
    for name, costs in measure.in_turn(cases, rounds).items():
        T, what = name.split("/")
        ms, temporary = (statistics.median(values) for values in zip(*(cost.answer for cost in costs), strict=True))
        gb = statistics.median(cost.gb for cost in costs)
        rows.append({"T": int(T), "what": what, "ms": ms, "temporary_mb": round(temporary / 1e6), "gb": round(gb, 2)})
    for what in {row["what"]: None for row in rows}:
        grown([row for row in rows if row["what"] == what])
    whole = {(row["T"], kind): row["ms"] for row in rows for kind in KINDS if row["what"] == f"{kind}, whole"}
    for row in rows:
        row["over"] = round(row["ms"] / whole[row["T"], row["what"].partition(", ")[0]], 2)
    facts = {"machine": about, "histories": histories, "rounds": rounds}
    panels = [report.Panel(COLUMNS[y], report.lines(rows, "T", y)) for y in ("ms", "temporary_mb")]
    figure = report.Figure(f"{histories} histories with two candidates", "T", panels)
    report.publish(results / "long_histories_cost", facts, rows, COLUMNS, [], [], figure)


def step(T: int, kind: str, way: str, histories: int, seconds: float) -> tuple[float, int]:
    """Milliseconds of a step, and the bytes that its program takes beside its arguments."""
    from dataclasses import replace

    import jax

    from dienjax.training.step import make_train_step
    from dienjax.training.threads import cores
    from experiments.benchmark.ours import batch, config, initial, schema, training
    from experiments.benchmark.setting import SIZES, full

    of = config()
    model = replace(of.model, options={**of.model.options, **KINDS[kind]}).build(schema(SIZES))
    platform = "none" if way == "whole" else "cpu"

    def make(*settings: Any, **threads: int) -> Any:
        return make_train_step(*settings, platform=platform, threads=cores() if way == "threads" else 1)

    made = batch(full(histories, T))
    ms = measure.median_ms(training(model, of.loss, [made], make), seconds)
    tx, state = initial(model)
    one = make_train_step(model, tx, of.loss, platform=platform).lower(state, made, jax.random.key(0)).compile()
    return ms, one.memory_analysis().temp_size_in_bytes
