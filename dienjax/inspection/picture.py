"""What an event store holds, as a picture: history lengths per split, and activity over time."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dienjax.drawing.style import BLUE, INK, ORANGE, plain
from dienjax.inspection.facts import Facts
from dienjax.inspection.inspect import bin_names, shown_time
from dienjax.storage.files import new_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = (BLUE, ORANGE, "#3a8a4d", "#8a4fa3")
FORMATS = ("png", "svg", "pdf")


def draw(facts: Facts, path: str | Path) -> None:
    """Draw the picture to `path`, as PNG, SVG or PDF by its suffix.

    Raises:
      ValueError: another suffix.
      FileNotFoundError: no such folder.
    """
    path = Path(path)
    ending = path.suffix.removeprefix(".").lower()
    if ending not in FORMATS:
        raise ValueError(
            f"picture {str(path)!r} ends in {path.suffix!r}; expected {', '.join('.' + f for f in FORMATS)}"
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"picture {str(path)!r}: no folder {str(path.parent)!r}; make it first")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.8), dpi=150, facecolor="white")
    figure.set_layout_engine("constrained", wspace=0.06, w_pad=0.08, h_pad=0.06)
    title = f"{Path(facts.path).name}: {facts.users:,} users, {facts.events:,} events"
    figure.suptitle(title, x=0.012, ha="left", fontsize=11, fontweight="bold", color=INK)
    left, right = figure.subplots(1, 2)
    _lengths(left, facts)
    _activity(right, facts)
    with new_file(path) as temporary:
        figure.savefig(temporary, format=ending)


def _lengths(axes: "Axes", facts: Facts) -> None:
    """The share of each split's samples by the length of their history."""
    plain(axes, "history length: share of the samples")
    filled = {name: split.history_bins for name, split in facts.splits.items() if split.samples}
    width = 0.8 / max(len(filled), 1)
    for i, (name, counts) in enumerate(filled.items()):
        at = np.arange(len(counts)) + (i - (len(filled) - 1) / 2) * width
        axes.bar(at, 100 * np.array(counts) / sum(counts), width, color=COLOURS[i % len(COLOURS)], label=name)
    names = bin_names(max(map(len, filled.values()), default=1))
    axes.set_xticks(range(len(names)), names, rotation=30 if len(names) > 8 else 0)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0f} %")
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)


def _activity(axes: "Axes", facts: Facts) -> None:
    """Events in equal parts of the log's time."""
    plain(axes, f"events over time, in {len(facts.activity)} equal parts")
    n, span = len(facts.activity), facts.last - facts.first
    axes.bar(np.arange(n) + 0.5, facts.activity, width=0.9, color=BLUE)
    ticks = np.linspace(0, n, 4)
    times = [facts.first + type(facts.first)(span * tick / n) for tick in ticks]
    axes.set_xticks(ticks, [shown_time(time, facts.time_unit)[:10] for time in times])
    axes.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
