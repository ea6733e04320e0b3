"""The linked views of the interest explorer, as one Vega-Lite specification with its data."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dienjax.report.charts import import_altair
from dienjax.report.explorer_data import datasets
from dienjax.report.section import Json

ROW, RUN_ROW, WIDTH, CELL = 18, 6, 98, 6.5
"""Pixels: the height of a row, what each run needs of it, the width of a panel, and that of a category."""
LETTER, LONGEST = 7.2, 22
"""Pixels of a letter, and how many of a value's are shown; the tooltip has all."""
COLUMNS = 3
"""So many behaviours have a column of their own; the tooltip has all."""
OF_USER = "datum.u == (user.u ? user.u[0] : 0)"
OF_CANDIDATE = "datum.k == min(pick.k ? pick.k[0] : 1, datum.m)"
"""Whether a candidate is the one to show: that picked, or the last of a user who has fewer."""
TRUE = "true interest"


def explorer_chart(users: Sequence[Json], behaviours: Sequence[str], regression: bool = False) -> dict[str, Any]:
    """The specification that draws what `dienjax.report.explorer.numbers_of` gives.

    Its parameters: `user` and, of several, `run` are chosen from lists; `pick` is a candidate, from a list or by a
    click; `event` is the row under the pointer, which is marked in all views. The lists stand in this order: user,
    candidate, run.

    Raises:
      ModuleNotFoundError: Altair is not installed.
    """
    fields = [*users[0]["candidates"][0]["values"]]
    views = Views(
        import_altair(), datasets(users, behaviours), fields, len(behaviours), [*users[0]["runs"]], regression
    )
    return views.spec([title(user) for user in users])


def title(user: Json) -> str:
    """A user in the list: who, why, and how much is known."""
    return f"{user['user']} · {user['chosen']} · {user['earlier_events'] + len(user['events']):,} events"


@dataclass(frozen=True)
class Views:
    """The parts of the chart. They read data sets by name, and of these what belongs to the chosen user and candidate.

    Attributes:
      alt: the module altair.
      data: the data sets of `dienjax.report.explorer_data`.
      fields: the names of a candidate's fields v0, v1, ...; the first `behaviours` of them are an event's too.
      regression: whether numbers are predicted, not probabilities.
    """

    alt: Any
    data: dict[str, list[dict[str, Any]]]
    fields: Sequence[str]
    behaviours: int
    runs: Sequence[str]
    regression: bool

    def spec(self, users: Sequence[str]) -> dict[str, Any]:
        """All of it; `users` are their titles."""
        alt = self.alt
        above = alt.hconcat(self.candidates(), *self.expected(), spacing=40)
        below = alt.hconcat(*self.history(), spacing=10, title="History")
        # Another history has another height: hence resize.
        spec = alt.vconcat(
            above, below, resolve={"scale": {"color": "shared"}}, autosize={"type": "pad", "resize": True}
        ).to_dict()
        candidates, events = spec["vconcat"][0]["hconcat"][0]["hconcat"], spec["vconcat"][1]["hconcat"]
        linked = ((self.pick, candidates), (self.user(users), candidates[:1]), (self.event, events))
        spec["params"] = [
            selection.param.to_dict() | {"views": [view["layer"][0]["name"] for view in views]}
            for selection, views in linked
        ]
        if len(self.runs) > 1:
            bind = alt.binding_select(options=["", *self.runs], labels=["all", *self.runs], name="Run ")
            spec["params"].append(alt.param("run", value="", bind=bind).param.to_dict())
        spec["datasets"] |= self.data
        return spec

    def user(self, titles: Sequence[str]) -> Any:
        bind = self.alt.binding_select(options=[*range(len(titles))], labels=[*titles], name="User ")
        return self.alt.selection_point("user", fields=["u"], value=[{"u": 0}], bind=bind)

    @cached_property
    def pick(self) -> Any:
        most = max(row["m"] for row in self.data["candidates"])
        bind = self.alt.binding_select(options=[*range(1, most + 1)], name="Candidate ")
        return self.alt.selection_point(
            "pick",
            fields=["k"],
            value=[{"k": 1}],
            on="click[event.item && event.item.datum && event.item.datum.k]",
            clear=False,
            toggle=False,
            bind=bind,
        )

    @cached_property
    def event(self) -> Any:
        return self.alt.selection_point("event", fields=["t"], on="pointerover", clear="pointerout", empty=False)

    def candidates(self) -> Any:
        """The candidates of the user, one a row, and what is predicted for them from the whole history."""
        alt = self.alt
        rows, names = self.of("candidates", OF_USER), [f"v{i}" for i in range(len(self.fields))]
        tips = self.tips(("candidate", "k:O"), *self.values(len(names)), ("label", "y:Q"))
        columns = [("#", "k", 2), *self.columns("candidates"), ("label", "y", 5)]
        about = alt.LookupData(alt.NamedData("candidates"), "c", [*names, "y"])
        now = self.of("pairs", OF_USER, self.of_run).transform_lookup("c", about)
        now = now.transform_calculate(p="datum.p[length(datum.p) - 1]")
        shade = {"opacity": alt.condition(OF_CANDIDATE, alt.value(1), alt.value(0.4))}
        bars = self.bars("predicted", rows, now, "k", "p", self.predicted, tips, self.range, **shade)
        return alt.hconcat(self.table("candidates", rows, "k", columns, tips), bars, spacing=8, title="Candidates")

    def expected(self) -> list[Any]:
        """The items that the auxiliary loss expects next, if a run has one."""
        logits = [z for row in self.data["states"] for z in row["z"]]
        if not logits:
            return []
        ends = [min(0, *logits), max(0, *logits)]
        rows = self.of("states", OF_USER, self.of_run).transform_flatten(["q", "z", *self.names])
        tips = self.tips(*self.values(self.behaviours))
        table = self.table("expected", rows, "q", self.columns("states"), tips)
        parts = self.alt.hconcat(
            table, self.bars("logits", rows, rows, "q", "z", "logit", tips, ends), spacing=8, title="Expected next"
        )
        return [parts]

    def history(self) -> list[Any]:
        """The events of the history, one a row, and beside them what is known of each."""
        rows = self.by_row("users", "datum.n", ["d", *self.names], OF_USER)
        about = self.alt.LookupData(self.alt.NamedData("users"), "u", ["d", *self.names])
        tips = self.tips(("event", "t:O"), ("time", "d:N"), *self.values(self.behaviours))
        columns = [("time", "d", self.longest("users", "d", 1)), *self.columns("users")]
        parts = [self.table("history", rows, "t", columns, tips)]
        panels = {
            "a": "attention",
            "g": "update gate",
            "l": "left at the end",
            "p": self.predicted,
            "s": "surprise (nats)",
        }
        for field, name in panels.items():
            dataset, of_candidate = ("states", "") if field == "s" else ("pairs", OF_CANDIDATE)
            if any(row[field] for row in self.data[dataset]):
                values = self.of(dataset, OF_USER, self.of_run, of_candidate).transform_lookup("u", about)
                values = self.spread(values, f"length(datum.{field})", [field, "d", *self.names])
                draw = self.growth if field == "p" else self.bars
                parts.append(
                    draw(field, rows, values.transform_filter(f"isValid(datum.{field})"), "t", field, name, tips)
                )
        return [*parts, self.interests(rows, tips)] if self.truth else parts

    def growth(self, name: str, rows: Any, values: Any, y: str, field: str, title: str, tips: Any) -> Any:
        """What is predicted after each event, from row to row; behind it the true interest, if it is known."""
        along, row = self.along(field, f"{title} so far", self.range), self.row(y)
        line = values.mark_line(strokeWidth=1.5).encode(along, row, order=f"{y}:Q", **self.colour)
        points = values.mark_point(filled=True, size=24, opacity=1)
        layers = [line, points.encode(along, row, tooltip=self.tips_of(field, title, tips), **self.colour)]
        if self.truth:
            true = self.by_row("candidates", "length(datum.b)", ["b"], OF_USER, OF_CANDIDATE).mark_bar(opacity=0.4)
            along = self.along("b", f"{title} so far", self.range)
            layers.insert(0, true.encode(along, row, color=self.alt.ColorDatum(TRUE)))
        return self.layered(name, rows, y, tips, layers, round(1.4 * WIDTH))

    def interests(self, rows: Any, tips: Any) -> Any:
        """The true interests after each event, the events' own categories, and the candidate's."""
        alt = self.alt
        count = len(self.data["users"][0]["b"][0])
        axis = alt.Axis(orient="top", labels=False, ticks=False, grid=False)

        def x(field: str) -> Any:
            return alt.X(f"{field}:O", title=f"{TRUE}, by category", axis=axis, scale=alt.Scale(domain=[*range(count)]))

        shade = alt.Opacity("b:Q", scale=alt.Scale(domain=[0, 1], range=[0, 1]), legend=None)
        cells = self.by_row("users", "datum.n", ["b"], OF_USER).transform_calculate(c=f"sequence({count})")
        cells = cells.transform_flatten(["c", "b"]).transform_filter("datum.b >= 0.01")
        tip = self.tips(("after event", "t:O"), ("category", "c:O"), ("probability", "b:Q"))
        own = self.by_row("users", "datum.n", ["e"], OF_USER).transform_filter("isValid(datum.e)")
        candidate = self.of("candidates", OF_USER, OF_CANDIDATE, "isValid(datum.x)")
        frame, true = {"y": alt.value(0), "y2": alt.value("height")}, alt.ColorDatum(TRUE)
        layers = [
            cells.mark_rect().encode(x("c"), self.row("t"), opacity=shade, color=true, tooltip=tip),
            own.mark_point(filled=True, size=10, opacity=1).encode(x("e"), self.row("t"), color=true),
            candidate.mark_rect(filled=False, strokeWidth=1.5).encode(x("x"), **frame, color=true),
        ]
        return self.layered("interests", rows, "t", tips, layers, round(CELL * count))

    def table(self, name: str, rows: Any, y: str, columns: Sequence[tuple[str, str, int]], tips: Any) -> Any:
        """Text in columns of (title, field, letters), with the titles above."""
        alt = self.alt
        layers, start = [], 0.0
        for head, field, letters in columns:
            width = max(letters, len(head)) * LETTER
            # The first row of a history says in the column of its time what came before: it has the place of all.
            limit = {} if field == "d" else {"limit": width}
            text = rows.mark_text(align="left", aria=False, **limit)  # the band of the row says it all
            layers.append(text.encode(x=alt.value(start), y=self.row(y), text=f"{field}:N"))
            above = alt.Chart(alt.InlineData([{}])).mark_text(align="left", fontWeight="bold", baseline="bottom")
            layers.append(above.encode(x=alt.value(start), y=alt.value(-5), text=alt.value(head)))
            start += width + 10
        return self.layered(name, rows, y, tips, layers, round(start)).properties(view={"stroke": None})

    def bars(
        self,
        name: str,
        rows: Any,
        values: Any,
        y: str,
        field: str,
        title: str,
        tips: Any,
        domain: Any = None,
        **more: Any,
    ) -> Any:
        """A bar for each row and run."""
        along, row, tip = self.along(field, title, domain), self.row(y), self.tips_of(field, title, tips)
        if len(self.runs) > 1 and y != "q":  # an expected item is of one run
            more["yOffset"] = self.alt.YOffset("r:N", sort=[*self.runs])
        bar = values.mark_bar().encode(along, row, tooltip=tip, **self.colour, **more)
        return self.layered(name, rows, y, tips, [bar], WIDTH)

    def layered(self, name: str, rows: Any, y: str, tips: Any, layers: Sequence[Any], width: int) -> Any:
        """Layers over a band for each row, which takes the pointer wherever it is; an event's is seen where that is."""
        alt = self.alt
        seen = alt.condition(self.event, alt.value(0.15), alt.value(0)) if y == "t" else alt.value(0)
        band = rows.mark_rect().encode(y=self.row(y), x=alt.value(0), x2=alt.value("width"), opacity=seen, tooltip=tips)
        step = {"step": ROW if y == "q" else max(ROW, RUN_ROW * len(self.runs)), "for": "position"}
        return alt.layer(band.properties(name=name), *layers).properties(width=width, height=step)

    def of(self, dataset: str, *where: str) -> Any:
        """A data set's entries for which all of the expressions hold."""
        chart = self.alt.Chart(self.alt.NamedData(dataset))
        for each in filter(None, where):
            chart = chart.transform_filter(each)
        return chart

    def by_row(self, dataset: str, count: str, arrays: Sequence[str], *where: str) -> Any:
        return self.spread(self.of(dataset, *where), count, arrays)

    def spread(self, chart: Any, count: str, arrays: Sequence[str]) -> Any:
        """Entries with their arrays spread over the rows t = 0, 1, ... of the history."""
        return chart.transform_calculate(t=f"sequence({count})").transform_flatten(["t", *arrays])

    @property
    def of_run(self) -> str:
        """Whether an entry is of the chosen run, where there is a choice."""
        return "run == '' || datum.r == run" if len(self.runs) > 1 else ""

    @property
    def of_runs(self) -> list[tuple[str, str]]:
        return [("run", "r:N")] if len(self.runs) > 1 else []

    @property
    def truth(self) -> bool:
        return "b" in self.data["users"][0]

    @property
    def legend(self) -> dict[str, Any]:
        """Runs, and the truth beside them, are told apart by colour."""
        domain = [*self.runs, *([TRUE] if self.truth else [])]
        return {"scale": self.alt.Scale(domain=domain), "legend": self.alt.Legend(orient="top", title=None)}

    @property
    def colour(self) -> dict[str, Any]:
        several = len(self.runs) > 1 or self.truth
        return {"color": self.alt.Color("r:N", **self.legend)} if several else {}

    @property
    def predicted(self) -> str:
        return "prediction" if self.regression else "probability"

    @property
    def range(self) -> list[int] | None:
        return None if self.regression else [0, 1]

    @property
    def names(self) -> list[str]:
        """The data sets' names of a behaviour's fields."""
        return [f"v{i}" for i in range(self.behaviours)]

    def columns(self, dataset: str) -> list[tuple[str, str, int]]:
        """The columns of a table of behaviours, as wide as their longest value."""
        names = self.names[:COLUMNS]
        return [(self.fields[i][:LONGEST], name, self.longest(dataset, name)) for i, name in enumerate(names)]

    def longest(self, dataset: str, field: str, start: int = 0) -> int:
        """The letters of the longest text in a field, at most those that are shown."""
        entries = [entry[field] for entry in self.data[dataset]]
        texts = [t for e in entries for t in ([e] if isinstance(e, str) else e[start:])]
        return min(LONGEST, max(map(len, texts), default=1))

    def values(self, count: int) -> list[tuple[str, str]]:
        """The first fields, for tips."""
        return [(self.fields[i], f"v{i}:N") for i in range(count)]

    def tips(self, *shown: tuple[str, str]) -> list[Any]:
        return [self.alt.Tooltip(field, title=title) for title, field in shown]

    def tips_of(self, field: str, title: str, tips: list[Any]) -> list[Any]:
        """The tips of a run's number."""
        return [*self.tips(*self.of_runs), *tips, self.alt.Tooltip(f"{field}:Q", title=title, format=".4f")]

    def row(self, field: str) -> Any:
        scale = self.alt.Scale(type="band", paddingInner=0.1, paddingOuter=0)
        return self.alt.Y(f"{field}:O", axis=None, scale=scale)

    def along(self, field: str, title: str, domain: Any) -> Any:
        """A number from left to right, with its axis above, where it is seen first."""
        scale = self.alt.Scale(domain=domain) if domain else self.alt.Scale()
        axis = self.alt.Axis(orient="top", tickCount=3, format="~g")
        return self.alt.X(f"{field}:Q", title=title, scale=scale, axis=axis, stack=None)
