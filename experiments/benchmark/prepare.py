"""Preparing a log: dienjax beside torch-rechub's generate_seq_feature, from a file to histories."""

import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from experiments.benchmark import measure, report
from experiments.benchmark.goals import Goal, checked

BATCH = 256
Row = dict[str, Any]

COLUMNS = {
    "events": "events",
    "what": "what",
    "file": "file",
    "engine": "engine",
    "runs": "runs",
    "call_s": "call, s",
    "process_s": "process, s",
    "gb": "peak, GB",
    "first_batch_s": "to first batch, s",
    "times_faster": "times faster",
}

GOALS = (
    Goal({"events": 1_700_000, "engine": "memory"}, "process_s", 5),
    Goal({"events": 1_700_000, "engine": "memory"}, "gb", 0.6),
    Goal({"events": 1_700_000, "engine": "memory"}, "times_faster", 20, least=True),
    Goal({"events": 17_000_000, "engine": "memory"}, "process_s", 60),
    Goal({"events": 17_000_000, "engine": "duckdb"}, "process_s", 60),
    Goal({"events": 17_000_000, "engine": "duckdb"}, "gb", 3),
)


def main(
    events: Annotated[tuple[int, ...], ...] = (200_000, 1_700_000, 17_000_000),
    files: Annotated[tuple[Literal["parquet", "csv"], ...], ...] = ("parquet", "csv"),
    engines: Annotated[tuple[Literal["memory", "duckdb"], ...], ...] = ("memory", "duckdb"),
    rechub_events: int = 1_700_000,
    first_batch: bool = False,
    repeats: int = 3,
    slow_s: float = 10.0,
    seed: int = 0,
    results: Path = measure.ROOT / "experiments/benchmark/results",
    temporary: Path | None = None,
) -> None:
    """Measure preparing a generated log (protocol all) beside torch-rechub's generate_seq_feature: seconds and memory.

    Each measurement is a process of its own. "call" is dienjax.prepare from a file to a written store, or
    generate_seq_feature from a DataFrame to DataFrames; "process" is all of it, imports and reading included. Medians
    over the runs. "times faster" compares the calls.

    Args:
      events: sizes of the logs; they have 10 users and 3 items for every 85 events.
      files: formats of the log's file.
      engines: how dienjax sorts; duckdb is left out where it is not installed.
      rechub_events: largest log that generate_seq_feature gets; at 1.7 million events it takes minutes and gigabytes.
      first_batch: measure also from the start of a process to the first training batch of 256 rows.
      repeats: runs of each measurement.
      slow_s: a process that takes more seconds than this runs once.
      seed: seed of the logs.
      results: folder for prepare.json and prepare.png.
      temporary: folder for logs and stores while it runs; the system's if not given.
    """
    about = measure.machine("dienjax", "numpy", "pandas", "pyarrow", "duckdb", "torch", "torch-rechub")
    left_out = _left_out(engines, rechub_events)
    engines = tuple(engine for engine in engines if engine not in left_out)
    rows: list[Row] = []
    for size in events:
        with tempfile.TemporaryDirectory(dir=temporary) as name:
            folder = Path(name)
            print(f"{size:,} events: writing the log", flush=True)
            measure.in_child("experiments.benchmark.logs:write", out=str(folder / "log"), events=size, seed=seed)
            cases = [("dienjax", file, engine) for engine in engines for file in files]
            if size <= rechub_events and "torch-rechub" not in left_out:
                cases.append(("generate_seq_feature", "csv", ""))
            rows += _compared([_measured(size, *case, folder, (repeats, slow_s), first_batch) for case in cases])

    panels = [report.Panel("whole process, s", _lines(rows, "process_s")), report.Panel("peak, GB", _lines(rows, "gb"))]
    figure = report.Figure("Preparing a log", "events", panels)
    facts = {"machine": about, "seed": seed}
    report.publish(results / "prepare", facts, rows, COLUMNS, checked(GOALS, rows, COLUMNS), left_out.values(), figure)


def dienjax(out: str, log: str, engine: Literal["memory", "duckdb"], batch: int) -> dict[str, float]:
    """The seconds of the call; with `batch`, the process goes on to the first training batch of this many rows."""
    from dienjax import prepare

    start = time.perf_counter()
    columns = {"user": "user", "item": "item", "time": "time"}
    store = prepare(log, out, **columns, attributes=["category"], protocol="all", engine=engine)
    seconds = time.perf_counter() - start
    if batch:
        from dienjax import Loader, StoreSplit

        next(Loader(StoreSplit(store, "train"), batch).epoch(0))
    return {"call_s": seconds}


def rechub(out: str, log: str, engine: str, batch: int) -> dict[str, float]:
    """The same for torch-rechub, step by step as in its example run_amazon_electronics.py; `out` is not used."""
    import pandas as pd
    from torch_rechub.utils.data import DataGenerator, df_to_dict, generate_seq_feature

    random.seed(0)
    data = pd.read_csv(log)
    start = time.perf_counter()
    parts = generate_seq_feature(
        data=data, user_col="user", item_col="item", time_col="time", item_attribute_cols=["category"]
    )
    seconds = time.perf_counter() - start
    if batch:
        (x, y), (valid_x, valid_y), (test_x, test_y) = [(x, x.pop("label")) for x in map(df_to_dict, parts)]
        loader, *_ = DataGenerator(x, y).generate_dataloader(valid_x, valid_y, test_x, test_y, batch_size=batch)
        next(iter(loader))
    return {"call_s": seconds}


def _left_out(engines: tuple[str, ...], rechub_events: int) -> dict[str, str]:
    """What is asked for but not installed, with a line that says how to install it."""
    wanted = {"duckdb": "duckdb" in engines, "torch-rechub": rechub_events > 0}
    extras = {"duckdb": "duckdb", "torch-rechub": "torch"}
    return measure.left_out({name: extras[name] for name, asked in wanted.items() if asked})


def _measured(
    events: int, what: str, file: str, engine: str, folder: Path, repeats: tuple[int, float], first_batch: bool
) -> Row:
    print(f"{events:,} events: {what} {file} {engine}".rstrip(), end=" ", flush=True)
    function = f"experiments.benchmark.prepare:{'dienjax' if what == 'dienjax' else 'rechub'}"
    given = {"log": str(folder / f"log/log.{file}"), "engine": engine}
    costs = []
    for cost in measure.repeated(function, folder, *repeats, **given, batch=0):
        costs.append(cost)
        print(f"· {cost.process_s:.2f} s {cost.gb:.2f} GB", end=" ", flush=True)
    row = {"events": events, "what": what, "file": file, "engine": engine, "runs": len(costs)}
    row["call_s"] = statistics.median(cost.answer["call_s"] for cost in costs)
    row |= {name: statistics.median(getattr(cost, name) for cost in costs) for name in ("process_s", "gb")}
    if first_batch:
        batches = [cost.process_s for cost in measure.repeated(function, folder, *repeats, **given, batch=BATCH)]
        row["first_batch_s"] = statistics.median(batches)
        print(f"· to the first batch {row['first_batch_s']:.2f} s", end="", flush=True)
    print(flush=True)
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}


def _compared(rows: list[Row]) -> list[Row]:
    """The rows of one log, those of dienjax with how many times faster their call is."""
    theirs = [row["call_s"] for row in rows if row["what"] != "dienjax"]
    return [
        row | {"times_faster": round(theirs[0] / row["call_s"], 1)} if theirs and row["what"] == "dienjax" else row
        for row in rows
    ]


def _lines(rows: list[Row], column: str) -> dict[str, list[tuple[float, float]]]:
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        name = row["what"] if not row["engine"] else f"{row['what']}, {row['file']}, {row['engine']}"
        lines.setdefault(name, []).append((row["events"], row[column]))
    return lines
