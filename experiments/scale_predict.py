"""What scoring costs by the number of rows: `dienjax predict` in a process of its own, its memory and its speed.

    python -m experiments.scale_predict --rows 500000 5000000

Rows have histories of 1 to 50 items and categories, and one candidate, in one Parquet file; the model is the shipped
DIEN after an epoch on a generated log. `--clone` scores with the package of another clone, such as of another commit.
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


def train(out: str, events: int) -> float:
    """Train the shipped DIEN for an epoch on a generated log; return its AUC on the validation split."""
    from dienjax import Config, fit_store, prepare
    from dienjax.training.progress import read_metrics
    from experiments.benchmark.logs import write

    write(f"{out}/log", events, 0)
    store = prepare(
        f"{out}/log/log.parquet", f"{out}/store", user="user", item="item", time="time", attributes=["category"]
    )
    run = fit_store(Config.load("dien", ["fit.epochs=1"]), store, f"{out}/run", progress=False)
    return read_metrics(run.path / "metrics.jsonl")[-1]["auc"]


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


def predict(clone: Path, run: Path, source: Path, target: Path) -> tuple[float, float, float]:
    """The seconds, those of all processors, and the peak memory in GB of `dienjax predict`, its start included."""
    command = [sys.executable, "-m", "dienjax", "predict", run, "--input", source, "--output", target, "--force"]
    start = time.perf_counter()
    child = subprocess.Popen(list(map(str, command)), cwd=clone, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"dienjax predict ended with exit code {child.returncode}")
    return seconds, usage.ru_utime + usage.ru_stime, peak_gb(usage)


def main(
    rows: tuple[int, ...] = (500_000, 5_000_000),
    folder: Path = Path("runs/scale_predict"),
    clone: Path = ROOT,
    events: int = 1_000_000,
) -> None:
    """Print seconds, rows a second and peak memory for each number of rows.

    Args:
      rows: how many rows to score.
      folder: for the run and the inputs, which are made where they are missing.
      clone: whose package scores.
      events: size of the log that the run is trained on.
    """
    folder = folder.absolute()
    run = folder / "trained/run"
    if not run.exists():
        shutil.rmtree(folder / "trained", ignore_errors=True)
        print("validation AUC", in_child(f"{MODULE}:train", out=str(run.parent), events=events).answer)
    for n in rows:
        source = folder / f"{n}.parquet"
        if not source.exists():
            in_child(f"{MODULE}:generate", out=str(source), run=str(run), rows=n)
        seconds, cpu_s, gb = predict(clone, run, source, folder / "scored.parquet")
        print(
            f"{n:>10,} rows  {seconds:7.1f} s  {cpu_s:7.1f} CPU s  {n / seconds:7,.0f} rows/s  {gb:.2f} GB", flush=True
        )


if __name__ == "__main__":
    tyro.cli(main, prog="python -m experiments.scale_predict")
