"""Charts are specifications without colours, with every row of the data, and the same colour for a run everywhere."""

import json
import sys

import pytest

from dienjax.report.charts import UNIT, Axis, histogram, import_altair, intervals, lines, points

pytest.importorskip("altair")
X, Y = Axis("x", "so many", ",d"), Axis("value", "so much")


def values(runs, series=()):
    return [
        {"run": run, "x": x, "value": x / 7 if x else None, "low": 0.0, "high": 1.0, "rows": 3, "name": f"bin {x}"}
        | ({"series": name} if name else {})
        for run in runs
        for name in series or [None]
        for x in range(3)
    ]


def find(spec, key):
    """Every value of a key, at any depth."""
    if isinstance(spec, dict):
        return [v for k, v in spec.items() if k == key] + [f for v in spec.values() for f in find(v, key)]
    return [f for v in spec for f in find(v, key)] if isinstance(spec, list) else []


@pytest.mark.parametrize("runs", [["a"], ["a", "b" * 60]])
@pytest.mark.parametrize("series", [(), ("one", "two")])
def test_every_chart(runs, series):
    data = values(runs, series)
    specs = [
        lines(data, X, Y, runs), histogram(data, X, Y, runs), points(data, X, Y, runs, UNIT),
        intervals(data, Axis("name", "bin"), Y, runs),
    ]  # fmt: skip
    for spec in specs:
        text = json.dumps(spec, allow_nan=False)
        assert data in find(spec, "values")
        assert spec["width"] == "container" and "#" not in text.replace(spec["$schema"], "")
        assert "background" not in text and "scheme" not in text
        colours = {json.dumps(colour["scale"]["domain"]) for colour in find(spec, "color")}
        assert colours == {json.dumps(list(series) if len(runs) == 1 and series else runs)}
        assert all((colour["legend"] is None) == (len(runs) == 1 and not series) for colour in find(spec, "color"))
        assert find(spec, "tooltip")
    dashed = bool(series) and len(runs) > 1
    assert all(bool(find(spec, "strokeDash")) == dashed for spec in specs[:2])


def test_only_few_points_of_a_line_are_marked():
    few, many = values(["few"]), [{"run": "many", "x": x, "value": 1.0} for x in range(50)]
    spec = lines(few + many, X, Y, ["few", "many"])
    _, marks = spec["layer"]
    assert marks["mark"]["type"] == "point" and marks["data"]["values"] == few


def test_names_stand_in_the_order_of_the_data():
    spec = intervals(values(["a"])[::-1], Axis("name", "bin"), Y, ["a"])
    assert {json.dumps(y["sort"]) for y in find(spec, "y")} == {'["bin 2", "bin 1", "bin 0"]'}


def test_without_altair_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'dienjax\[report\]'"):
        import_altair()
