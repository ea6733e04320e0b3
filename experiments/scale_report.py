"""What a report costs by the number of rows: `dienjax report` in a process of its own, its time, its memory, its size.

    python -m experiments.scale_report --rows 1000000

A row is a candidate: each test user of a generated world has an event and a sampled negative. The model is the shipped
DIEN after an epoch on the last events of the other users, a tenth.
"""

import shutil
from pathlib import Path

import tyro

from experiments.benchmark.measure import ROOT, in_child
from experiments.scale_predict import dienjax

TESTED = 0.9
"""Share of the users."""


def train(out: str, rows: int) -> None:
    """Prepare a generated log whose test split has that many rows, as `out/store`, and train `out/run` on it."""
    from dienjax import Config, fit_store, prepare
    from dienjax.data.drift import DriftWorld

    users = round(rows / 2 / TESTED)
    log = DriftWorld(users, events_min=5, categories=100, items=20_000).log()
    columns = {"user": "user", "item": "item", "time": "time", "attributes": ["category"]}
    store = prepare(log, f"{out}/store", **columns, test_fraction=TESTED, valid_fraction=0.005)
    del log
    config = Config.load("dien", ["fit.epochs=1", "data.batch_size=512", "data.train=train"])
    fit_store(config, store, f"{out}/run", progress=False)


def main(rows: tuple[int, ...] = (1_000_000,), folder: Path = Path("runs/scale_report")) -> None:
    """Print seconds, peak memory and the page's size for each number of rows.

    Args:
      rows: candidates of the test split.
      folder: for the stores and the runs, which are made where they are missing.
    """
    for n in rows:
        run = folder.absolute() / f"{n}/run"
        if not (run / "curves.png").exists():
            shutil.rmtree(run.parent, ignore_errors=True)
            in_child("experiments.scale_report:train", out=str(run.parent), rows=n)
        seconds, cpu_s, gb = dienjax(ROOT, "report", run)
        megabytes = (run / "report.html").stat().st_size / 1e6
        print(f"{n:>10,} rows  {seconds:6.1f} s  {cpu_s:6.1f} CPU s  {gb:.2f} GB  {megabytes:.1f} MB", flush=True)


if __name__ == "__main__":
    tyro.cli(main, prog="python -m experiments.scale_report")
