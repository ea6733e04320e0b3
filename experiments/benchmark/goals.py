"""What the rows of a benchmark have to keep, and whether they do."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Goal:
    """A bound on a column, at most or with `least` at least, for the rows whose values are those of `where`."""

    where: dict[str, Any]
    column: str
    bound: float
    least: bool = False


def checked(goals: Iterable[Goal], rows: list[dict[str, Any]], titles: dict[str, str]) -> list[str]:
    """A line for each goal that some row was measured for: whether the worst of them keeps it."""
    lines = []
    for goal in goals:
        values = [row[goal.column] for row in rows if goal.where.items() <= row.items() and goal.column in row]
        if values:
            worst = min(values) if goal.least else max(values)
            kept = worst >= goal.bound if goal.least else worst <= goal.bound
            where = ", ".join(f"{n} {v:,}" if isinstance(v, int) else f"{n} {v}" for n, v in goal.where.items())
            bound = f"{titles[goal.column]} at {'least' if goal.least else 'most'} {goal.bound:g}"
            lines.append(f"{'kept' if kept else 'MISSED'}: {where}: {bound}, measured {worst:.3g}")
    return lines
