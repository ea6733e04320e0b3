"""What an export costs against the rows of the item table."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from experiments.benchmark import measure, report
from experiments.benchmark.goals import Goal, checked
from experiments.benchmark.serving_model import text
from experiments.benchmark.setting import DIM, SIZES, T

HERE, MODEL = "experiments.benchmark.serving_export", "experiments.benchmark.serving_model"

COLUMNS = {
    "V": "V",
    "export_s": "export, s",
    "gb": "peak, GB",
    "folder_mb": "folder, MB",
    "tables_mb": "tables alone, MB",
    "first_s": "to the first answer, s",
    "ranker_gb": "Ranker's peak, GB",
}
GOALS = (Goal({"V": 10**6}, "export_s", 60),)


def table(path: Path, facts: dict[str, Any], rows: tuple[int, ...], rounds: int, temporary: str) -> None:
    """Publish as `path` the seconds, memory and size of an export, and the seconds until a Ranker answers from it.

    The peak is that of the largest process. A Ranker's seconds begin with its import, in a process of its own.

    Args:
      rows: sizes of the item table.
      temporary: folder for the run and its export.
    """
    found = []
    for V in rows:
        sizes, costs = SIZES | {"item": V}, []
        with tempfile.TemporaryDirectory(dir=temporary) as scratch:
            run, out = f"{scratch}/run", f"{scratch}/exported"
            measure.in_child(f"{MODEL}:write_run", out=run, sizes=sizes)
            for _ in range(rounds):
                costs.append(measure.in_child(f"{MODEL}:export", run=run, out=out, force=True))
                print(f"{V:,} rows · {costs[-1].process_s:.1f} s {costs[-1].gb:.2f} GB", flush=True)
            answers = [measure.in_child(f"{HERE}:first_answer", folder=out) for _ in range(rounds)]
        row = {"V": V, "tables_mb": round(4 * DIM * sum(sizes.values()) / 1e6, 1)}
        row["export_s"] = round(statistics.median(cost.answer["seconds"] for cost in costs), 1)
        row["gb"] = round(max(cost.gb for cost in costs), 3)
        row["folder_mb"] = round(costs[-1].answer["folder_mb"], 1)
        row["first_s"] = round(statistics.median(cost.answer for cost in answers), 2)
        found.append(row | {"ranker_gb": round(max(cost.gb for cost in answers), 3)})
    report.publish(path, facts, found, COLUMNS, checked(GOALS, found, COLUMNS), [])


def first_answer(folder: str) -> float:
    """Seconds from the import of `Ranker` to its first answer, for a full history and 100 candidates."""
    start = time.perf_counter()
    from dienjax.serving import Ranker

    history, candidates = ({name: [text(name, 2 + n) for n in range(count)] for name in SIZES} for count in (T, 100))
    Ranker(folder).score(history, candidates)
    return time.perf_counter() - start
