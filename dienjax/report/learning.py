"""How runs learned: the curves of their metrics files, and which checkpoint was chosen."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dienjax.drawing.curves import series, thinned
from dienjax.report.charts import Axis, Values, lines
from dienjax.report.scored import Scored
from dienjax.report.section import Block, Chart, Section, Table, Text
from dienjax.training import checkpoint
from dienjax.training.choosing import remarks
from dienjax.training.metrics import Task
from dienjax.training.progress import read_metrics
from dienjax.training.run import Run

Lines = list[dict[str, Any]]

PANELS: dict[Task, dict[str, dict[str, tuple[str, str]]]] = {
    "binary": {
        "AUC": {"training": ("train", "auc"), "validation": ("valid", "auc"), "validation GAUC": ("valid", "gauc")},
        "log loss": {"training": ("train", "ctr_loss"), "validation": ("valid", "logloss")},
        "auxiliary loss": {"training": ("train", "auxiliary_loss")},
    },
    "regression": {
        "squared error": {"training": ("train", "ctr_loss")},
        "RMSE": {"validation": ("valid", "rmse")},
        "auxiliary loss": {"training": ("train", "auxiliary_loss")},
    },
}
"""What each chart has, by the kind of a line and the name there."""


def recorded(run: Run) -> Lines:
    """The lines of a run's metrics file; none of a run that was not trained here."""
    path = run.path / "metrics.jsonl"
    return read_metrics(path) if path.is_file() else []


def learning(runs: Mapping[str, Scored]) -> Section:
    """Losses and metrics of training and validation by step, at most 200 points of each."""
    lines_of = {name: recorded(one.run) for name, one in runs.items()}
    chosen = {name: _chosen(one.run, lines_of[name]) for name, one in runs.items()}
    blocks: list[Block] = [
        Table(
            "The checkpoint that is reported on",
            ["run", "checkpoint", "of step", "steps trained"],
            [[name, *of_run.values()] for name, of_run in chosen.items()],
        )
    ]
    found = {
        name: remarks(of_run, runs[name].run.config.fit.choose) if of_run else ["no training was recorded"]
        for name, of_run in lines_of.items()
    }
    blocks += [Text(f"{name}: {remark}.") for name, of_run in found.items() for remark in of_run]
    curves: dict[str, Values] = {}
    for title, panel in PANELS[next(iter(runs.values())).task].items():
        values = [
            {"run": name, "series": label, "step": step, "value": value}
            for name, of_run in lines_of.items()
            for label, (kind, key) in panel.items()
            for step, value in np.transpose(thinned(*series(of_run, kind, key))).tolist()
        ]
        if values:
            curves[title] = values
            name, steps = f"learning-{title.replace(' ', '-').lower()}", Axis("step", "step", ",d")
            spec = lines(values, steps, Axis("value", title), list(runs))
            blocks.append(Chart(name, title, spec, f"The {title} by step of training"))
    text = "Of training each point is a mean over the steps since the one before; validation is over its whole split."
    return Section("learning", "Learning", text, blocks, {"chosen": chosen, "curves": curves})


def _chosen(run: Run, lines: Lines) -> dict[str, str | int | None]:
    """Which checkpoint the trained model is, its step, and the last step of the training."""
    steps = checkpoint.steps(run.path, run.chosen)
    return {
        "checkpoint": run.chosen,
        "step": steps[-1] if steps else None,
        "last_step": max((line["step"] for line in lines), default=None),
    }
