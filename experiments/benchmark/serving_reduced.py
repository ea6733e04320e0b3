"""A trained run exported with tables of float32, float16 and int8: what is saved, and what it costs."""

import json
import statistics
from pathlib import Path
from typing import Any

from experiments.benchmark import measure, report
from experiments.benchmark.serving_model import DEFAULT, SERVING, through

HERE, MODEL = "experiments.benchmark.serving_reduced", "experiments.benchmark.serving_model"
NUMBER = {"float32": (4, 0), "float16": (2, 0), "int8": (1, 4)}
"""Bytes of a number, and of a row's scale, by the precision of the tables."""
K = 200

COLUMNS = {
    "tables": "tables",
    "graphs_mb": "graphs, MB",
    "tables_mb": "tables alone, MB",
    "ms": f"a request, K = {K}, ms",
    "candidates": "test candidates",
    "largest": "largest difference",
    "auc": "test AUC",
    "auc_change": "change",
}


def table(
    path: Path, facts: dict[str, Any], run: str, store: str, folder: str, rounds: int, seconds: float, seed: int
) -> None:
    """Publish as `path` the size, speed and test AUC of the run's exports.

    The difference and the change are those of onnxruntime from JAX with float32 tables, on the test split.

    Args:
      store: the store of the test split; if empty, the run's own.
      folder: where the exports go.
    """
    rows, cases = [], {}
    for tables in NUMBER:
        out = f"{folder}_{tables}"
        given = {"run": run, "out": out, "tables": tables, "split": "test", "store": store or None}
        made = measure.in_child(f"{MODEL}:export", **given).answer
        rows.append({"tables": tables, "graphs_mb": round(made["graphs_mb"], 3)} | of_split(Path(out), tables))
        cases[tables] = (f"{HERE}:request_ms", {"folder": out, "seconds": seconds, "seed": seed})
    for row, costs in zip(rows, measure.in_turn(cases, rounds).values(), strict=True):
        row["ms"] = round(statistics.median(cost.answer for cost in costs), 3)
    report.publish(path, facts | {"run": Path(run).name}, rows, COLUMNS, [], [])


def of_split(folder: Path, tables: str) -> dict[str, Any]:
    """What export.json says about the tables and the test split."""
    found = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    number, scale = NUMBER[tables]
    split, sizes = found["split"], [(table["size"], table["dim"]) for table in found["schema"]["tables"]]
    return {
        "tables_mb": round(sum(size * (dim * number + scale) for size, dim in sizes) / 1e6, 3),
        "candidates": split["candidates"],
        "largest": split["largest_difference"],
        "auc": split["auc"]["onnx"],
        "auc_change": split["auc"]["onnx"] - split["auc"]["jax"],
    }


def request_ms(folder: str, seconds: float, seed: int) -> float:
    """Milliseconds of one request of random ids with the longest history, whose user is not cached."""
    import numpy as np

    from dienjax.schema import FIRST_ID
    from dienjax.serving.folder import read_export

    export, random = read_export(folder), np.random.default_rng(seed)
    sizes, given = export.schema.sizes(), {}
    for field in export.schema.behaviours:
        for name, count in ((f"hist_{field.name}", export.max_len), (field.name, K)):
            given[name] = random.integers(FIRST_ID, sizes[field.name], (1, count), export.ids)
    features: tuple[Any, ...] = (*export.schema.sparse, *export.schema.dense)
    for feature in features:
        shape = (1,) if feature.of == "user" else (1, K)
        drawn = random.integers(1, sizes[feature.name], shape) if feature.name in sizes else random.normal(size=shape)
        given[feature.name] = drawn.astype(export.ids if feature.name in sizes else np.float32)
    call = through(folder, SERVING, DEFAULT)
    return measure.median_ms(lambda: call(given), seconds)
