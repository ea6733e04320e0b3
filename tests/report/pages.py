"""A small page with everything that a page can hold, and with raw values that try to be more than text."""

from dienjax.report.section import Chart, Interval, Picture, Section, Table, Text

HOSTILE = [
    '</script><script>document.title = "x"; window.ran = 1</script>',
    '<img src=x onerror="window.ran = 1">',
    '"><svg onload="window.ran = 1">',
    "--><!-- </title></style></textarea>",
    "${window.ran = 1} {{ 7 * 7 }} {% raw %} {# #}",
    "javascript:window.ran=1",
    "\u202eright to left\u202d",
    "مرحبا بالعالم",
    "🦊 ‍👩‍🚀 \u2028\u2029",
    "a&amp;b &lt;b&gt;",
    "x" * 10_000,
]
TITLE = f"A title of {HOSTILE[0]}"
SVG = """
<svg xmlns="http://www.w3.org/2000/svg" width="900" height="60">
<script>window.ran = 1</script><rect width="900" height="60" fill="#def"/>
</svg>
"""
VALUES = [{"name": name, "value": i + 1, "image": name} for i, name in enumerate(HOSTILE)]
POINTS = [{"user": u, "x": x, "y": x * (u + 1), "run": HOSTILE[u]} for u in range(3) for x in range(5 + u)]


def bars(name):
    """A bar for each hostile value, as wide as its place."""
    spec = {
        "data": {"values": VALUES},
        "mark": "bar",
        "width": "container",
        "height": 20 * len(VALUES),
        "encoding": {
            "x": {"field": "value", "type": "quantitative"},
            "y": {"field": "name", "type": "nominal", "sort": None, "title": HOSTILE[0]},
            "tooltip": [{"field": field, "type": "nominal"} for field in ("name", "image")],
        },
    }
    return Chart(name, HOSTILE[1], spec, f"{HOSTILE[0]} by {HOSTILE[1]}")


def linked():
    """Two views, wider than a phone, of the user that a list chooses."""
    options = {"input": "select", "options": [0, 1, 2], "labels": HOSTILE[:3], "name": "User "}
    points = {
        "transform": [{"filter": "datum.user == user"}],
        "mark": "point",
        "width": 400,
        "encoding": {
            "x": {"field": "x", "type": "quantitative"},
            "y": {"field": "y", "type": "quantitative"},
            "color": {"field": "run", "type": "nominal", "scale": {"domain": HOSTILE[:3]}, "legend": {"title": None}},
        },
    }
    spec = {"data": {"values": POINTS}, "hconcat": [points, points]}
    spec["params"] = [{"name": "user", "value": 0, "bind": options}]
    return Chart("linked", "Linked views", spec, "Points of a user")


def page():
    """Sections, the last of them folded."""
    rows = [[text, 7120, 0.78712, Interval(0.78712, 0.7722, 0.8009), None] for text in HOSTILE]
    table = Table(HOSTILE[3], [HOSTILE[0], "rows", "AUC", "AUC with interval", "GAUC"], rows, wide=True)
    first = Section(
        "first",
        "Results & <b>more</b>",
        " ".join(HOSTILE[:3]),
        [table, Table("None", ["empty"], [])],
        {"auc": Interval(0.787123456789, 0.7, 0.9), "names": HOSTILE, "undefined": None},
    )
    folded = Section(
        "folded", "Folded", "", [Text(HOSTILE[0], code=True), bars("late"), Picture("p", HOSTILE[1], SVG)], [1], True
    )
    return [first, Section("charts", "Charts", "", [bars("early"), linked()]), folded]
