"""What scoring costs by the number of rows: `dienjax predict` in a process of its own, its memory and its speed.

    python -m experiments.scale_predict --rows 500000 5000000

Rows have histories of 1 to 50 items and categories, and one candidate, in one Parquet file; the model is the shipped
DIEN after an epoch on a generated log. `--against CLONE` scores with another commit too.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import tyro

from experiments.benchmark.measure import ROOT, in_child, peak_gb

MODULE = "experiments.scale_predict"
LONGEST = 50
GROUP = 50_000
"""Rows of a row group of the input."""


def train(clone: Path, folder: Path, events: int) -> None:
    """Train the shipped DIEN for an epoch on a generated log, as the run `folder/run`, with the package of a clone."""
    in_child("experiments.benchmark.logs:write", out=str(folder / "log"), events=events, seed=0)
    log, store = folder / "log/log.parquet", folder / "store"
    columns = ["--user", "user", "--item", "item", "--time", "time", "--attribute", "category"]
    dienjax(clone, "prepare", "--events", log, "--out", store, *columns)
    dienjax(clone, "train", "dien", "--store", store, "--run", folder / "run", "--set", "fit.epochs=1")


def generate(out: str, run: str, rows: int) -> int:
    """Write a Parquet file of rows whose values are drawn from a run's vocabularies; return its bytes."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    values = [pq.read_table(f"{run}/vocab/{name}.parquet")["value"].to_numpy() for name in ("item", "category")]
    rng, writer = np.random.default_rng(0), None
    for start in range(0, rows, GROUP):
        N = min(GROUP, rows - start)
        end_N = np.append(0, np.cumsum(rng.integers(1, LONGEST + 1, N)))
        columns = {"row": pa.array(np.arange(start, start + N))}
        for name, value_V in zip(("item", "category"), values, strict=True):
            # About 1 / rank, as items of a shop.
            rank_M = (len(value_V) ** rng.random(end_N[-1] + N)).astype(int) - 1
            drawn_M = value_V[rank_M]
            columns[f"hist_{name}"] = pa.ListArray.from_arrays(end_N.astype(np.int32), drawn_M[N:])
            columns[name] = pa.array(drawn_M[:N])
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(out, table.schema)
        writer.write_table(table)
    writer.close()
    return os.path.getsize(out)


def dienjax(clone: Path, *command: object) -> tuple[float, float, float]:
    """The seconds, those of all processors, and the peak memory in GB of a command, its start included."""
    start = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "dienjax", *map(str, command)], cwd=clone, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"dienjax {command[0]} ended with exit code {child.returncode}")
    return seconds, usage.ru_utime + usage.ru_stime, peak_gb(usage)


def main(
    rows: tuple[int, ...] = (500_000, 5_000_000),
    folder: Path = Path("runs/scale_predict"),
    against: Path | None = None,
    rounds: int = 1,
    events: int = 1_000_000,
) -> None:
    """Print seconds, rows a second and peak memory for each number of rows.

    Args:
      rows: how many rows to score.
      folder: for the run and the inputs, which are made where they are missing.
      against: another clone, such as of an earlier commit, which trains the run and scores beside this one.
      rounds: how often each scores, in turn.
      events: size of the log that the run is trained on.
    """
    folder = folder.absolute()
    run = folder / "trained/run"
    if not run.exists():
        shutil.rmtree(run.parent, ignore_errors=True)
        train(against or ROOT, run.parent, events)
    clones = {"here": ROOT} | ({"there": against} if against else {})
    for n in rows:
        source = folder / f"{n}.parquet"
        if not source.exists():
            in_child(f"{MODULE}:generate", out=str(source), run=str(run), rows=n)
        for _ in range(rounds):
            for name, clone in clones.items():
                into = ["--input", source, "--output", folder / "scored.parquet", "--force"]
                seconds, cpu_s, gb = dienjax(clone, "predict", run, *into)
                speed = f"{seconds:7.1f} s  {cpu_s:7.1f} CPU s  {n / seconds:7,.0f} rows/s  {gb:.2f} GB"
                print(f"{n:>10,} rows  {name:5}  {speed}", flush=True)


if __name__ == "__main__":
    tyro.cli(main, prog="python -m experiments.scale_predict")
