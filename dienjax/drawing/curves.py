"""The learning curves of a run, drawn from its metrics file."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dienjax.drawing.style import BLUE, GREY, INK, ORANGE, plain
from dienjax.storage.files import new_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 200
"""A longer curve is drawn as this many means of neighbouring points."""

TITLES = {"auc": "AUC", "logloss": "log loss", "rmse": "RMSE"}

Series = tuple[np.ndarray, np.ndarray]


def plot_curves(lines: Iterable[dict[str, Any]], path: str | Path, title: str) -> None:
    """Draw the training losses, and beside them validation AUC and log loss (regression: RMSE), as a PNG at `path`.

    The best of each is marked. Series that are missing or undefined are left out; where a resumed run wrote a step
    twice, the later line counts.
    """
    from matplotlib.figure import Figure

    lines = list(lines)
    measured = [name for name in ("rmse", "logloss") if len(series(lines, "valid", name)[0])]
    names = measured if "rmse" in measured else ["auc", *measured]
    figure = Figure(figsize=(5 + 5 * len(names), 3.8), dpi=150, facecolor="white")
    figure.set_layout_engine("constrained", wspace=0.06, w_pad=0.08, h_pad=0.06)
    figure.suptitle(title, x=0.012, ha="left", fontsize=11, fontweight="bold", color=INK)
    left, *others = figure.subplots(1, 1 + len(names))
    _losses(left, lines)
    for axes, name in zip(others, names, strict=True):
        _validation(axes, lines, name)
    with new_file(path) as temporary:
        figure.savefig(temporary, format="png")


def series(lines: Iterable[dict[str, Any]], kind: str, name: str) -> Series:
    """The steps, ascending, at which the lines of a kind hold a finite `name`, and its values there."""
    at = {line["step"]: line[name] for line in lines if line.get("kind") == kind and line.get(name) is not None}
    steps = sorted(step for step, value in at.items() if math.isfinite(value))
    return np.array(steps, float), np.array([at[step] for step in steps], float)


def thinned(step_Q: np.ndarray, value_Q: np.ndarray) -> Series:
    """A curve of more than `POINTS` points as that many means of neighbours."""
    if len(step_Q) <= POINTS:
        return step_Q, value_Q
    parts = np.array_split(np.arange(len(step_Q)), POINTS)
    return np.array([step_Q[p].mean() for p in parts]), np.array([value_Q[p].mean() for p in parts])


def _losses(axes: "Axes", lines: list[dict[str, Any]]) -> None:
    wanted = [("ctr", "ctr_loss", BLUE), ("auxiliary", "auxiliary_loss", ORANGE), ("total", "loss", INK)]
    curves = [(label, *series(lines, "train", name), colour) for label, name, colour in wanted]
    curves = [curve for curve in curves if len(curve[1])]
    if not any(curve[0] == "auxiliary" for curve in curves):
        curves = [("loss", *curve[1:3], BLUE) for curve in curves[:1]]  # the total is then the ctr loss again
    _style(axes, "training loss")
    if not curves:
        return _say(axes, "no training step recorded yet")
    ends = []
    for label, step_Q, value_Q, colour in curves:
        step_Q, value_Q = thinned(step_Q, value_Q)
        axes.plot(step_Q, value_Q, color=colour, lw=1.5, marker="o" if len(step_Q) == 1 else None, ms=4)
        ends.append((label, step_Q[-1], value_Q[-1], colour))
    axes.margins(x=0.02, y=0.08)
    _label_ends(axes, ends)


def _validation(axes: "Axes", lines: list[dict[str, Any]], name: str) -> None:
    step_Q, value_Q = series(lines, "valid", name)
    _style(axes, f"validation {TITLES[name]}")
    if not len(step_Q):
        evaluated = any(line.get("kind") == "valid" for line in lines)
        return _say(axes, "AUC undefined: the validation rows have one class" if evaluated else "no validation yet")
    axes.plot(step_Q, value_Q, color=BLUE, lw=1.5, marker="o" if len(step_Q) <= 40 else None, ms=3)
    best = int(np.argmax(value_Q) if name == "auc" else np.argmin(value_Q))
    axes.plot(step_Q[best], value_Q[best], "o", ms=7, mfc="white", mec=INK, mew=1.6, zorder=3)
    axes.margins(x=0.04, y=0.18)
    low, high = axes.get_xlim()
    where = (step_Q[best] - low) / (high - low)
    axes.annotate(
        f"best {value_Q[best]:.4f} at step {step_Q[best]:,.0f}",
        (step_Q[best], value_Q[best]),
        xytext=(0, 9 if name == "auc" else -9),
        textcoords="offset points",
        ha="left" if where < 0.25 else "right" if where > 0.75 else "center",
        va="bottom" if name == "auc" else "top",
        fontsize=9,
        color=INK,
        bbox={"fc": "white", "ec": "none", "pad": 1},
    )


def _style(axes: "Axes", title: str) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    plain(axes, title)
    axes.set_xlabel("step", fontsize=9, color=GREY)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))


def _say(axes: "Axes", text: str) -> None:
    axes.set(xticks=[], yticks=[], xlabel="")
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=10, color=GREY)


def _label_ends(axes: "Axes", ends: list[tuple[str, float, float, str]]) -> None:
    """Writes each curve's name and last value to the right of its end, at least a line apart."""
    low, high = axes.get_ylim()
    height = -1.0
    for label, _, value, colour in sorted(ends, key=lambda end: end[2]):
        height = max((value - low) / (high - low), height + 0.075)
        axes.annotate(
            f"{label} {value:.3f}",
            (1, height),
            xycoords="axes fraction",
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=colour,
        )
