"""A training step against the rows of the item table: dienjax dense and lazy, and torch's SparseAdam."""

import itertools
import resource
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from experiments.benchmark import measure, report
from experiments.benchmark.goals import Goal, checked
from experiments.benchmark.setting import DIM, LIBRARIES, PACKAGES, SIZES, T

HERE = "experiments.benchmark.vocabulary"
SMALL, DISTINCT, BATCHES = 10_000, 10_000, 8
DENSE, LAZY, SPARSE = "dienjax dense", "dienjax lazy", "torch SparseAdam"

COLUMNS = {
    "ids": "ids",
    "V": "V",
    "model": "model",
    "what": "what",
    "ms": "step, ms",
    "renumber_ms": "renumbering, ms",
    "both_ms": "both, ms",
    "times_dense": "times faster than dense",
    "times_sparse": "times faster than SparseAdam",
    "growth": "times the smallest V",
    "gb": "peak, GB",
    "state_gb": "table and Adam, GB",
    "memory": "peak growth over that",
}

GOALS = (
    *(
        Goal({"ids": "uniform", "V": 10**7, "model": model, "what": LAZY}, "times_dense", 15, least=True)
        for model in ("tables", "DIEN")
    ),
    *(Goal({"model": model, "what": LAZY}, "times_sparse", 1, least=True) for model in ("tables", "DIEN")),
    Goal({"ids": "same", "V": 10**7, "model": "DIEN", "what": LAZY}, "growth", 1.5),
    Goal({"V": 10**7, "what": LAZY}, "memory", 1.1),
)


def main(
    rows: Annotated[tuple[int, ...], ...] = (10**4, 10**5, 10**6, 10**7),
    histories: int = 512,
    rounds: int = 3,
    seconds: float = 1.0,
    results: Path = measure.ROOT / "experiments/benchmark/results",
) -> None:
    """Measure a training step with Adam against the rows of the item table, 18 numbers each.

    A batch has full histories of 50 with their negatives, and two candidates each. "DIEN" is ours, or torch-rechub's
    with sparse gradients of the tables; "tables" only looks up the same ids and shrinks their squares. "renumbering"
    runs on the host, in training at the same time as the step before; "times faster" and "times the smallest V" include
    it. "uniform": ids of all rows; "same": of the same number of distinct rows, 10,000, spread over the table. "peak
    growth over that" is what the process takes beyond its peak after a step with 10,000 rows, over the bytes of tables
    and both moments.

    Args:
      rows: sizes of the item table.
      histories: histories per batch.
      rounds: processes of each case, in turn.
      seconds: duration of each measurement.
      results: folder for vocabulary.json and vocabulary.png.
    """
    about = measure.machine(*PACKAGES)
    left_out = measure.left_out({"torch-rechub": LIBRARIES["torch-rechub"]})
    found: list[dict[str, Any]] = []
    for ids, V in itertools.product(("uniform", "same"), rows):
        given = {"V": V, "ids": ids, "histories": histories, "seconds": seconds}
        cases = {}
        for model, what in itertools.product(("tables", "DIEN"), (DENSE, LAZY, SPARSE)):
            # What "same" is about are rows far apart; the dense step passes through the whole table anyhow.
            if (ids == "same" and (model == "tables" or what == DENSE)) or (what == SPARSE and left_out):
                continue
            function = "theirs" if what == SPARSE else "lazy" if what == LAZY else "dense"
            cases[f"{model}, {what}"] = (f"{HERE}:{function}", given | {"model": model})
        print(f"{V:,} rows, ids {ids}", flush=True)
        found += compared(
            [_row(ids, V, *name.split(", "), costs) for name, costs in measure.in_turn(cases, rounds).items()]
        )
    grown(found)
    facts = {"machine": about, "histories": histories, "T": T, "dim": DIM, "rounds": rounds}
    panels = [
        report.Panel(f"{model}: step and renumbering, ms", report.lines(shown, "V", "both_ms"))
        for model in ("tables", "DIEN")
        if (shown := [row for row in found if row["model"] == model and row["ids"] == "uniform"])
    ]
    figure = report.Figure(f"{histories} histories of {T}, Adam", "rows of the item table", panels)
    goals = checked(GOALS, found, COLUMNS)
    report.publish(results / "vocabulary", facts, found, COLUMNS, goals, left_out.values(), figure)


def dense(V: int, ids: str, model: str, histories: int, seconds: float) -> dict[str, float]:
    """Milliseconds of the ordinary step."""
    from dienjax.training.step import make_train_step
    from experiments.benchmark.ours import batch, training

    fed = [batch(columns) for columns in _batches(V, ids, histories)]
    return {"ms": measure.median_ms(training(*_model(model, V), fed, make_train_step), seconds)}


def lazy(V: int, ids: str, model: str, histories: int, seconds: float) -> dict[str, float]:
    """Milliseconds of the lazy-row step and of renumbering, and the peak before the tables and after, in GB."""
    from dienjax.training.lazy_rows import make_lazy_train_step, renumber
    from experiments.benchmark.ours import batch, training

    def call(size: int) -> tuple[Callable[[], None], Callable[[], Any]]:
        built, loss = _model(model, size)
        made = [batch(columns) for columns in _batches(size, ids, histories)]
        fed, again = [renumber(one, built.schema) for one in made], itertools.cycle(made)
        return training(built, loss, fed, make_lazy_train_step), lambda: renumber(next(again), built.schema)

    call(SMALL)[0]()
    baseline = _peak_gb()
    step, renumbering = call(V)
    answer = {"ms": measure.median_ms(step, seconds), "baseline_gb": baseline, "peak_gb": _peak_gb()}
    return answer | {"renumber_ms": measure.median_ms(renumbering, seconds / 4)}


def theirs(V: int, ids: str, model: Literal["tables", "DIEN"], histories: int, seconds: float) -> dict[str, float]:
    """Milliseconds of a step with SparseAdam for the tables (and Adam for the rest of torch-rechub's DIEN)."""
    import torch

    from experiments.benchmark import theirs

    def call(size: int) -> Callable[[], None]:
        sizes, made = SIZES | {"item": size}, _batches(size, ids, histories)
        if model == "DIEN":
            built = theirs.build("torch-rechub", sizes, T)
            tables = list(built.embedding.embed_dict.values())
            for table in tables:
                table.sparse = True
            rest = [p for name, p in built.named_parameters() if not name.startswith("embedding.")]
            optimizers = [torch.optim.SparseAdam([table.weight for table in tables]), theirs.adam(rest)]
            return theirs.training("torch-rechub", built, made, optimizers)
        torch.manual_seed(0)
        tables = [torch.nn.Embedding(n, DIM, sparse=True) for n in sizes.values()]
        optimizer = torch.optim.SparseAdam([table.weight for table in tables])
        fed = itertools.cycle(
            [
                [torch.from_numpy(c[prefix + name]) for name in sizes for prefix in ("hist_", "neg_hist_", "")]
                for c in made
            ]
        )

        def step() -> None:
            optimizer.zero_grad()
            looked_up = zip([table for table in tables for _ in range(3)], next(fed), strict=True)
            sum(table(ids).square().sum() for table, ids in looked_up).backward()
            optimizer.step()

        return step

    call(SMALL)()
    baseline = _peak_gb()
    return {"ms": measure.median_ms(call(V), seconds), "baseline_gb": baseline, "peak_gb": _peak_gb()}


def _model(name: str, V: int) -> tuple[Any, Any]:
    """Our model and its loss."""
    from experiments.benchmark.ours import Tables, config, schema

    of, fields = config(), schema(SIZES | {"item": V})
    return (of.model.build(fields) if name == "DIEN" else Tables(fields)), of.loss


def _batches(V: int, ids: str, histories: int) -> list[dict[str, Any]]:
    import numpy as np

    from experiments.benchmark.setting import drawn

    rng, length_B = np.random.default_rng(0), np.full(histories, T)
    item_V = np.unique(np.linspace(2, V - 1, DISTINCT).astype(np.int32)) if ids == "same" else None
    return [drawn(SIZES | {"item": V}, length_B, T, 2, rng, item_V) for _ in range(BATCHES)]


def _peak_gb() -> float:
    return measure.peak_gb(resource.getrusage(resource.RUSAGE_SELF))


def _row(ids: str, V: int, model: str, what: str, costs: list[measure.Cost]) -> dict[str, Any]:
    """One row; `both_ms` is the step and the renumbering, one after the other."""
    median = {n: statistics.median(c.answer[n] for c in costs) for n in costs[0].answer}
    state_gb = 3 * 4 * DIM * (V + SIZES["category"]) / 1e9
    row = {"ids": ids, "V": V, "model": model, "what": what, "ms": round(median["ms"], 2)}
    if "renumber_ms" in median:
        row["renumber_ms"] = round(median["renumber_ms"], 2)
    row |= {"both_ms": round(median["ms"] + median.get("renumber_ms", 0), 2)}
    row |= {"gb": round(statistics.median(c.gb for c in costs), 3), "state_gb": round(state_gb, 4)}
    if "baseline_gb" in median and V > 10 * SMALL:
        row["baseline_gb"] = round(median["baseline_gb"], 3)
        row["memory"] = round((median["peak_gb"] - median["baseline_gb"]) / state_gb, 3)
    return row


def compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one table, the lazy ones with how many times faster they are than the others of their model."""
    ms = {(row["model"], row["what"]): row["both_ms"] for row in rows}
    for row in rows:
        for column, what in (("times_dense", DENSE), ("times_sparse", SPARSE)):
            if row["what"] == LAZY and (other := ms.get((row["model"], what))):
                row[column] = round(other / row["both_ms"], 2)
    return rows


def grown(rows: list[dict[str, Any]]) -> None:
    """Add to each row its time over that of the smallest table."""
    first: dict[tuple[str, ...], float] = {}
    for row in rows:
        smallest = first.setdefault((row["ids"], row["model"], row["what"]), row["both_ms"])
        row["growth"] = round(row["both_ms"] / smallest, 2)
