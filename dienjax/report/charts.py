"""Data as Vega-Lite specifications, by Altair; the colours are the page's, and so are the fonts."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from dienjax.report.needed import needed

HEIGHT = 260
"""Pixels."""
FEW = 40
"""Points on a line up to which each is marked."""
Values = list[dict[str, Any]]
"""Rows of data, each with its `run`, and with its `series` where a run has several."""
Spec = dict[str, Any]
Ends = tuple[float, float]


class Axis(NamedTuple):
    """A field of the data, what people call it, how its numbers are written (D3), and where it ends if they differ."""

    field: str
    title: str
    format: str = ".3f"
    ends: Ends | None = None


UNIT: Ends = (0.0, 1.0)


def import_altair() -> Any:
    """Altair; without it, ModuleNotFoundError says what to install."""
    [altair] = needed("altair")
    return altair


def lines(values: Values, x: Axis, y: Axis, runs: Sequence[str], diagonal: Ends | None = None) -> Spec:
    """A line for each run and series, with its points where they are few; the diagonal is drawn between two numbers."""
    alt, colour = import_altair(), _Colour(values, runs)
    many = Counter((row["run"], row.get("series")) for row in values)
    few = [row for row in values if many[row["run"], row.get("series")] <= FEW]
    shared = {
        "x": _number(alt.X, x),
        "y": _number(alt.Y, y),
        "color": colour.encoding,
        "tooltip": colour.tooltips(x, y),
    }
    chart = alt.Chart(alt.Data(values=values)).mark_line().encode(strokeDash=colour.dash, **shared)
    if few:
        chart += alt.Chart(alt.Data(values=few)).mark_point(filled=True, size=30).encode(**shared)
    return _alone(_diagonal(x, y, diagonal) + chart if diagonal else chart, HEIGHT)


def histogram(values: Values, x: Axis, y: Axis, runs: Sequence[str]) -> Spec:
    """Steps from each x to the next, filled for a single run."""
    alt, colour = import_altair(), _Colour(values, runs)
    chart = alt.Chart(alt.Data(values=values))
    area = {"line": True, "fillOpacity": 0.3}
    marked = chart.mark_line if len(runs) > 1 else partial(chart.mark_area, **area)
    steps = marked(interpolate="step-after").encode(
        x=_number(alt.X, x),
        y=_number(alt.Y, y).stack(None),
        color=colour.encoding,
        strokeDash=colour.dash,
        tooltip=colour.tooltips(x, y),
    )
    return _alone(steps, HEIGHT)


def points(values: Values, x: Axis, y: Axis, runs: Sequence[str], diagonal: Ends) -> Spec:
    """Points with their intervals, `low` and `high`, over numbers; the diagonal is drawn between two of them."""
    alt, colour = import_altair(), _Colour(values, runs)
    chart = alt.Chart(alt.Data(values=values)).encode(x=_number(alt.X, x), color=colour.encoding)
    rule = chart.mark_rule().encode(y=_number(alt.Y, y._replace(field="low")), y2="high:Q")
    point = chart.mark_point(filled=True, size=50).encode(
        y=_number(alt.Y, y), tooltip=colour.tooltips(x, y, Axis("rows", "rows", ",d"))
    )
    return _alone(_diagonal(x, y, diagonal) + rule + point, HEIGHT)


def intervals(values: Values, name: Axis, x: Axis, runs: Sequence[str]) -> Spec:
    """Points with their intervals, `low` and `high`, in lines with the names of the data, in its order."""
    alt, colour = import_altair(), _Colour(values, runs)
    names = list(dict.fromkeys(row[name.field] for row in values))
    chart = alt.Chart(alt.Data(values=values)).encode(
        y=alt.Y(f"{name.field}:N", title=None, sort=names, axis=alt.Axis(labelLimit=180)),
        yOffset=alt.YOffset(f"{colour.field}:N", sort=colour.names),
        color=colour.encoding,
    )
    rule = chart.mark_rule().encode(x=_number(alt.X, x._replace(field="low")), x2="high:Q")
    point = chart.mark_point(filled=True, size=50).encode(
        x=_number(alt.X, x), tooltip=[alt.Tooltip(f"{name.field}:N", title=name.title), *colour.tooltips(x)]
    )
    return _alone(rule + point, len(names) * (10 + 10 * len(colour.names)))


class _Colour:
    """What a colour stands for: the run; in a page about one run, what else there is several of."""

    def __init__(self, values: Values, runs: Sequence[str]) -> None:
        alt = import_altair()
        series: list[str] = list(dict.fromkeys(row["series"] for row in values if "series" in row))
        self.both = len(runs) > 1 and len(series) > 1
        self.field, self.names = ("series", series) if len(runs) == 1 and series else ("run", [*runs])
        self.encoding = alt.Color(
            f"{self.field}:N",
            scale=alt.Scale(domain=self.names),
            legend=_legend(self.names) if len(self.names) > 1 else None,
        )
        self.dash = (
            alt.StrokeDash("series:N", scale=alt.Scale(domain=series), legend=_legend(series))
            if self.both
            else alt.Undefined
        )

    def tooltips(self, *axes: Axis) -> list[Any]:
        alt = import_altair()
        fields = ["run", "series"] if self.both else [self.field] if len(self.names) > 1 else []
        return [
            *(alt.Tooltip(f"{name}:N", title=name) for name in fields),
            *(alt.Tooltip(f"{axis.field}:Q", title=axis.title, format=axis.format) for axis in axes),
        ]


def _legend(names: Sequence[str]) -> Any:
    """A legend above the chart; long names, which do not fit side by side on a phone, have a line each."""
    alt = import_altair()
    columns = 1 if sum(map(len, names)) > 40 else alt.Undefined
    return alt.Legend(title=None, orient="top", labelLimit=300, columns=columns)


def _number(channel: Any, axis: Axis) -> Any:
    alt = import_altair()
    scale = alt.Scale(zero=False) if axis.ends is None else alt.Scale(domain=list(axis.ends))
    ticks = alt.Axis(format=re.sub("(?=[f%]$)", "~", axis.format), tickCount=6)  # 0.4, where a tooltip has 0.400
    return channel(f"{axis.field}:Q", title=axis.title, scale=scale, axis=ticks)


def _diagonal(x: Axis, y: Axis, ends: Ends) -> Any:
    alt = import_altair()
    rule = alt.Chart(alt.Data(values=[dict(zip(("from", "to"), ends, strict=True))])).mark_rule(
        strokeDash=[4, 4], opacity=0.5
    )
    start = {"x": _number(alt.X, x._replace(field="from")), "y": _number(alt.Y, y._replace(field="from"))}
    return rule.encode(**start, x2="to:Q", y2="to:Q")


def _alone(chart: Any, height: int) -> Spec:
    """The specification of a chart that is as wide as its place."""
    return chart.properties(width="container", height=height).to_dict()
