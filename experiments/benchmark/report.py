"""What a benchmark leaves behind: a table, a JSON file and a picture."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dienjax.storage.files import new_file, write_json


@dataclass(frozen=True)
class Panel:
    """One diagram of a picture: points (x, y) by the name of their line."""

    title: str
    lines: dict[str, list[tuple[float, float]]]


@dataclass(frozen=True)
class Figure:
    """A picture: its title, and its panels over one x."""

    title: str
    x_title: str
    panels: Sequence[Panel]


def publish(
    path: Path,
    facts: dict[str, Any],
    rows: list[dict[str, Any]],
    columns: dict[str, str],
    goals: list[str],
    notes: Iterable[str],
    figure: Figure | None = None,
) -> None:
    """Print the columns that are not empty, the goals and the notes, and write them to `path`, as .json and .png."""
    shown = {name: title for name, title in columns.items() if any(row.get(name) is not None for row in rows)}
    print("\n" + "\n".join([table(rows, shown), "", *goals, *notes]), flush=True)
    save(path.with_suffix(".json"), facts | {"rows": rows, "goals": goals})
    if figure:
        picture(path.with_suffix(".png"), figure)


def lines(rows: Iterable[dict[str, Any]], x: str, y: str) -> dict[str, list[tuple[float, float]]]:
    """The points (x, y) of the rows that have both, by their "what"."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row.get(x) is not None and row.get(y) is not None:
            found.setdefault(row["what"], []).append((row[x], row[y]))
    return found


def table(rows: Sequence[dict[str, Any]], columns: dict[str, str]) -> str:
    """A Markdown table of rows; `columns` has the title of each column to show."""
    body = [[_text(row.get(name)) for name in columns] for row in rows]
    lines = [list(columns.values()), *body]
    width = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    padded = [[cell.rjust(w) for cell, w in zip(line, width, strict=True)] for line in lines]
    padded.insert(1, ["-" * (w - 1) + ":" for w in width])
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def save(path: Path, result: dict[str, Any]) -> None:
    """Write the result to `path` as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, result)
    print(f"wrote {path}", flush=True)


def picture(path: Path, of: Figure) -> None:
    """Draw the panels side by side, with logarithmic axes and one legend, to `path` as PNG."""
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    from dienjax.drawing.style import GREY, INK

    figure = Canvas(figsize=(5 * len(of.panels), 4.6), dpi=150, facecolor="white", layout="constrained")
    figure.suptitle(of.title, x=0.012, ha="left", fontsize=11, fontweight="bold", color=INK)
    for axes, panel in zip(figure.subplots(1, len(of.panels), squeeze=False)[0], of.panels, strict=True):
        for i, (name, points) in enumerate(panel.lines.items()):
            x, y = zip(*sorted(points), strict=True)
            axes.loglog(x, y, label=name, color=f"C{i}", lw=1.5, marker="os^Dv"[i % 5], ms=5, mfc="none")
        axes.set_title(panel.title, loc="left", fontsize=10, color=INK)
        axes.set_xlabel(of.x_title, fontsize=9, color=GREY)
        axes.set_xticks(sorted({x for points in panel.lines.values() for x, _ in points}))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
            axis.set_minor_formatter(NullFormatter())
        axes.tick_params(which="both", labelsize=9, colors=GREY, length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(color="#e8e8e8", lw=0.8)
        axes.set_axisbelow(True)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    with new_file(path) as temporary:
        figure.savefig(temporary, format="png")
    print(f"wrote {path}", flush=True)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < abs(value) < 0.005 else f"{value:,.2f}" if value < 10 else f"{value:,.1f}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
