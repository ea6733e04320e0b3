"""Tables of one run, or of several side by side."""

from collections.abc import Sequence

from dienjax.report.section import Cell, Table


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], runs: Sequence[str]) -> Table:
    """A table whose rows begin with the name of their run, which is left out where there is only one."""
    start = 0 if len(runs) > 1 else 1
    return Table(caption, ["run", *columns][start:], [row[start:] for row in rows])
