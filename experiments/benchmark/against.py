"""This checkout beside another one: the time of preparing, loading and training here over the time there."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import tyro

from experiments.benchmark import measure

HERE = "experiments.benchmark"


def main(
    other: Annotated[Path, tyro.conf.Positional],
    events: int = 1_700_000,
    histories: int = 300_000,
    rounds: int = 7,
    only: str = "",
) -> None:
    """Measure what both checkouts of this repository have, in processes that take turns, and print the ratios.

    A ratio is that of the medians over the rounds, above 1 if this checkout is slower; beside it are the smallest and
    the largest ratio of a single round.

    Args:
      other: the root of the other checkout, of an earlier commit for example; it runs in this Python.
      events: size of the generated log that is prepared.
      histories: events of the generated log that is loaded and trained on.
      rounds: processes of each measurement in each checkout.
      only: measure only what has this text in its name.
    """
    roots = {"now": measure.ROOT, "then": other.absolute()}
    with tempfile.TemporaryDirectory() as name, patch.dict(os.environ):
        folder = Path(name)
        # The steps of later rounds need not be compiled again.
        os.environ |= {"JAX_COMPILATION_CACHE_DIR": f"{name}/xla", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"}
        measure.in_child(f"{HERE}.logs:write", out=str(folder / "log"), events=events, seed=0)
        for when, root in roots.items():  # each in its own format
            for store, size, merged in (("trained", histories, 1), ("loaded", 10 * histories, 15)):
                given = {"out": str(folder / f"{store}_{when}"), "events": size, "seed": 0, "merged": merged}
                measure.in_child(f"{HERE}.ours:prepared", root=root, **given)
        print("| what | rounds | now, s | then, s | ratio | of single rounds |\n|---|---:|---:|---:|---:|---:|")
        for what, seconds in _cases(folder).items():
            if only not in what:
                continue
            taken: dict[str, list[float]] = {when: [] for when in roots}
            for turn in range(rounds):
                for when in sorted(roots, reverse=bool(turn % 2)):
                    taken[when].append(seconds(when, roots[when]))
            now, then = (statistics.median(taken[when]) for when in roots)
            each = sorted(a / b for a, b in zip(*taken.values(), strict=True))
            cells = [what, rounds, f"{now:.3g}", f"{then:.3g}", f"{now / then:.3f}", f"{each[0]:.2f} to {each[-1]:.2f}"]
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def _cases(folder: Path) -> dict[str, Callable[[str, Path], float]]:
    """By the name of a measurement, a function that gives its seconds in a checkout."""

    def prepared(file: str, engine: str) -> Callable[[str, Path], float]:
        def seconds(when: str, root: Path) -> float:
            with tempfile.TemporaryDirectory(dir=folder) as out:
                given = {"log": str(folder / f"log/log.{file}"), "engine": engine, "batch": 0, "out": f"{out}/store"}
                return measure.in_child(f"{HERE}.prepare:dienjax", root=root, **given).answer["call_s"]

        return seconds

    def labelled(when: str, root: Path) -> float:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            command = [sys.executable, "-c", "from dienjax.cli import main; main()", "prepare"]
            command += ["--user", "user", "--item", "item", "--time", "time", "--attribute", "category", "--events"]
            command += [str(folder / "log/log.csv"), "--hist-label", "category >= 400", "--out", f"{out}/store"]
            start = time.perf_counter()
            subprocess.run(command, cwd=root, check=True, capture_output=True)
            return time.perf_counter() - start

    def loaded(batch: int) -> Callable[[str, Path], float]:
        def seconds(when: str, root: Path) -> float:
            given = {"store": str(folder / f"loaded_{when}"), "batch": batch, "seconds": 3.0, "negatives": True}
            return 1e5 / measure.in_child(f"{HERE}.loader:ours", root=root, **given).answer["samples_per_s"]

        return seconds

    def trained(batch: int) -> Callable[[str, Path], float]:
        def seconds(when: str, root: Path) -> float:
            given: dict[str, Any] = {"batch": batch, "epochs": 3, "samples": 0, "seed": 0}
            given |= {"store": str(folder / f"trained_{when}")}
            speeds = measure.in_child(f"{HERE}.train:ours", root=root, **given).answer["speeds"]
            return 1e5 / statistics.median(speeds[1:])

        return seconds

    return {
        "prepare, Parquet, memory": prepared("parquet", "memory"),
        "prepare, CSV, memory": prepared("csv", "memory"),
        "prepare, CSV, duckdb": prepared("csv", "duckdb"),
        "the command, CSV, an expression": labelled,
        "loader, 10⁵ histories, 64 a batch": loaded(64),
        "loader, 10⁵ histories, 512 a batch": loaded(512),
        "training, 10⁵ rows, 128 a batch": trained(128),
        "training, 10⁵ rows, 1,024 a batch": trained(1024),
    }
