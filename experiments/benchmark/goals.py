"""Bounds that the rows of a benchmark should keep, and whether they do."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Goal:
    """An upper bound (with `least`, a lower one) on a column, for the rows that have the values of `where`."""

    where: dict[str, Any]
    column: str
    bound: float
    least: bool = False


def checked(goals: Iterable[Goal], rows: list[dict[str, Any]], titles: dict[str, str]) -> list[str]:
    """A line for each goal that applies to some row: whether the worst such row keeps it."""
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
