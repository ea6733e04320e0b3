"""A model as a table of its parameters and shapes, and as a diagram of its data flow: nothing is computed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import jax
from flax import linen as nn

from dienjax.batch import Batch
from dienjax.data.store import Store
from dienjax.drawing.svg import INK, MONO, SOFT, Box, Picture, chips_height
from dienjax.models import MODELS
from dienjax.schema import Behaviour, Schema, Table
from dienjax.storage.files import write_text
from dienjax.training.checkpoint import named_leaves
from dienjax.training.config import Config
from dienjax.training.losses import LossConfig, has_auxiliary
from dienjax.training.run import Run

LOGISTIC = LossConfig()
EXAMPLE = Schema((Table("item", 10_000), Table("category", 100)), (Behaviour("item"), Behaviour("category")))
"""What a config is described with where no data is named."""

Shape = tuple[Any, ...]


@dataclass(frozen=True)
class Shapes:
    """Shapes of parameters and running statistics by path, and of the main arrays, with B, T and K as letters."""

    params: dict[str, Shape]
    statistics: dict[str, Shape]
    stages: dict[str, Shape]

    def count(self, module: str = "") -> int:
        """The number of parameters of all, or of one top-level module (or of each field's, where it has one)."""
        return sum(prod(s) for path, s in self.params.items() if not module or _is(path.split("/")[0], module))


def shapes(model: nn.Module, schema: Schema, loss: LossConfig = LOGISTIC) -> Shapes:
    """The shapes of everything, from tracing the model's initialisation with symbolic B, T and K."""
    auxiliary = has_auxiliary(model, loss)
    B, T, K = jax.export.symbolic_shape("B, T, K")
    batch = Batch.abstract(schema, B, T, K, negatives=auxiliary)
    calls: dict[str, tuple[Any, Any]] = {}
    order: dict[str, int] = {}

    def note(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        path = "/".join(context.module.path)
        order.setdefault(path, len(order))
        output = call(*args, **kwargs)
        if context.method_name == "__call__":
            calls[path] = jax.tree.map(lambda x: getattr(x, "shape", ()), (args, output))
        return output

    with nn.intercept_methods(note):
        variables = jax.eval_shape(partial(model.init, jax.random.key(0)), batch)
    params = {path: leaf.shape for path, leaf in named_leaves(variables["params"]).items()}
    params = dict(sorted(params.items(), key=lambda leaf: order[leaf[0].rpartition("/")[0]]))
    statistics = {path: leaf.shape for path, leaf in named_leaves(variables.get("batch_stats", {})).items()}
    return Shapes(params, statistics, _stages(model, calls, auxiliary))


def _stages(model: nn.Module, calls: dict[str, tuple[Any, Any]], auxiliary: bool) -> dict[str, Shape]:
    """The main arrays in the order in which they arise; a name's last letters are its axes."""
    embedded, output = calls["embedder"][1], calls[""][1]
    stages = {"history_BTE": embedded.history_BTE, "negative_BTE": embedded.negative_BTE if auxiliary else None}
    stages |= {n: getattr(embedded, n) for n in ("candidate_BKE", "user_BU", "context_BKC")}

    def outputs(name: str) -> Shape:
        """The output of a module, or of each field's side by side."""
        found = [output for path, (_, output) in calls.items() if _is(path, name)]
        return (*found[0][:-1], sum(shape[-1] for shape in found))

    dien = hasattr(model, "kind")
    if dien:
        stages["state_BTH"] = outputs("extractor")
        if model.kind == "GRU":
            stages["evolved_BTH"] = outputs("evolution")
    attention = "target_attention" if dien else "attention"
    stages["weight_BKT"] = next(output for path, (_, output) in calls.items() if _is(path, attention))
    if dien and model.kind != "GRU":
        stages["interest_BKH"] = outputs("evolution")
    else:
        width = stages["evolved_BTH" if dien else "history_BTE"][-1]
        stages["interest_BKH" if dien else "interest_BKE"] = (*stages["weight_BKT"][:2], width)
    parts = calls["tower"][0][0]
    stages["tower_input_BKF"] = (*stages["weight_BKT"][:2], sum(shape[-1] for shape in parts))
    stages["logit_BK"] = output.logit_BK
    if auxiliary:
        stages["positive_logit_BS"] = output.auxiliary.positive_logit_BS
        stages["negative_logit_BS"] = output.auxiliary.negative_logit_BS
    return {name: shape for name, shape in stages.items() if shape is not None and shape[-1] != 0}


def _is(module: str, name: str) -> bool:
    """Whether a top-level module is the one of that name, or that of one of the fields."""
    return module == name or (module.startswith(f"{name}_") and "/" not in module)


def _brackets(shape: Shape) -> str:
    return "[" + ", ".join(str(d).replace(" - ", " − ") for d in shape) + "]"


def _title(model: nn.Module) -> str:
    return type(model).__name__ + (f" · {model.kind}" if hasattr(model, "kind") else "")


def table(model: nn.Module, schema: Schema, loss: LossConfig = LOGISTIC) -> str:
    """The modules, parameters, shapes, counts and shares as aligned text; then the shapes of the main stages."""
    found = shapes(model, schema, loss)
    total = found.count()
    rows = [("module and parameter", "shape", "parameters", "share")]
    for module in dict.fromkeys(path.split("/")[0] for path in found.params):
        mine = found.count(module)
        rows.append((module, "", f"{mine:,}", f"{mine / total:.1%}"))
        for path, shape in found.params.items():
            if path.split("/")[0] == module:
                rest = "  " + path.removeprefix(f"{module}/")
                rows.append((rest, _brackets(shape), f"{prod(shape):,}", f"{prod(shape) / total:.1%}"))
    rows.append(("total", "", f"{total:,}", "100.0%"))
    if found.statistics:
        rows.append(("running statistics", "", f"{sum(map(prod, found.statistics.values())):,}", ""))
    stages = [("stage", "shape"), *((name, _brackets(shape)) for name, shape in found.stages.items())]
    return "\n\n".join((_title(model), _aligned(rows, "<<>>"), _aligned(stages, "<<")))


def _aligned(rows: Sequence[tuple[str, ...]], sides: str) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{c:{s}{w}}" for c, s, w in zip(row, sides, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:]])


def describe_file(target: str | Path, store: str | Path | None = None, svg: str | Path | None = None) -> str:
    """The table of a run folder's model or of a TOML config's; the diagram is written to `svg`.

    A config's schema is the store's, or `EXAMPLE`. `svg` is by default model.svg in the run folder, or the config's
    name with .svg in the current folder.
    """
    target, given = Path(target), None if store is None else Store.open(store).schema
    if target.is_dir():
        run = Run.open(target)
        if given is not None:
            run.check_schema(given, f"the store {store}")
        config, schema, model = run.config, run.schema, run.model
    else:
        config = Config.load(target)
        model = config.model.build(given or EXAMPLE)
        schema = model.schema
    file = Path(svg) if svg is not None else target / "model.svg" if target.is_dir() else Path(f"{target.stem}.svg")
    write_text(file, diagram(model, schema, config.loss))
    example = "" if target.is_dir() or given else "\n\nThe schema is an example; name an event store for the real one."
    return f"{table(model, schema, config.loss)}{example}\n\ndiagram: {file}"


COLUMN, GAP, MARGIN, STEP = 212, 40, 40, 62
"""Widths of a column, between columns and of the border; height of an arrow with its label."""

COLOURS = {
    "field": ("#f1f4f7", "#b4c0cc"),
    "table": ("#e6effa", "#86abd9"),
    "recurrent": ("#e5f3e9", "#83bd95"),
    "attention": ("#fdf2d8", "#ddb455"),
    "tower": ("#efe9f9", "#ad98d6"),
    "loss": ("#fce9e7", "#dd948d"),
}


def diagram(model: nn.Module, schema: Schema, loss: LossConfig = LOGISTIC) -> str:
    """An SVG of the data flow of a DIN or DIEN, from the fields to the loss, with the shapes on the arrows.

    Raises:
      TypeError: another model.
    """
    if type(model) not in MODELS.values():
        raise TypeError(f"diagram got a {type(model).__name__}; expected one of {', '.join(MODELS)}: use table instead")
    return _Diagram(model, schema, loss, shapes(model, schema, loss)).svg()


class _Diagram:
    """The picture, and where its columns stand. The trunk is the column of the history."""

    def __init__(self, model: Any, schema: Schema, loss: LossConfig, found: Shapes) -> None:
        self.model, self.schema, self.loss, self.found = model, schema, loss, found
        self.dien, self.auxiliary = hasattr(model, "kind"), has_auxiliary(model, loss)
        self.picture = Picture()
        there = {"negative": self.auxiliary, "history": True, "candidate": True}
        there |= {"user": "user_BU" in found.stages, "context": "context_BKC" in found.stages}
        self.x: dict[str, float] = {}
        x = float(MARGIN)
        for name in (name for name, is_there in there.items() if is_there):
            self.x[name] = x
            x += COLUMN + (100 if name == "negative" else GAP)
        self.right = max(self.x.values()) + COLUMN
        self.trunk = self.x["history"] + COLUMN / 2
        self.passing = self.x["candidate"] + COLUMN - 12

    def svg(self) -> str:
        title = _title(self.model)
        self.picture.text((MARGIN, 48), title, 22, weight="600")
        self.picture.text((MARGIN, 72), f"{self.found.count():,} parameters", 13, SOFT)
        self.picture.text((MARGIN, 91), "B batch · T history slots · K candidates", 12, SOFT)
        tables = self._tables(118)
        tower = self._tower(self._interest(tables), tables)
        bottom = self._losses(tower)
        stages = "; ".join(f"{name} {_brackets(shape)}" for name, shape in self.found.stages.items())
        return self.picture.svg(self.right + MARGIN, bottom + MARGIN, f"{title}: data flow", stages)

    def _tables(self, y: float) -> Box:
        """The fields, and below them the band of tables that all of them go through."""
        groups = self._groups()
        bottom = y + max(chips_height(chips, COLUMN) for _, chips in groups.values())
        x = min(self.x.values())
        tables = [f"{t.name} · {t.size:,} × {t.dim}" for t in self.schema.tables]
        title = f"Embedding tables · {self._parameters('embedder')}"
        band = self.picture.chips((x, bottom + 36), self.right - x, COLOURS["table"], title, tables)
        for name, (title, chips) in groups.items():
            at = (self.x[name], bottom - chips_height(chips, COLUMN))
            box = self.picture.chips(at, COLUMN, COLOURS["field"], title, chips)
            self.picture.arrow((box.centre, bottom), (box.centre, band.y))
        return band

    def _groups(self) -> dict[str, tuple[str, list[str]]]:
        """Title and fields of each column."""
        behaviours = [_reads(f.name, f.table) for f in self.schema.behaviours]
        features = {
            side: [_reads(f.name, f.table) for f in self.schema.sparse if f.of == side]
            + [f"{f.name} · number" for f in self.schema.dense if f.of == side]
            for side in ("user", "candidate")
        }
        groups = {
            "negative": ("Sampled negatives [B, T]", behaviours),
            "history": ("Past behaviours [B, T]", behaviours),
            "candidate": ("Candidates [B, K]", behaviours),
            "user": ("User [B]", features["user"]),
            "context": ("Per candidate [B, K]", features["candidate"]),
        }
        return {name: group for name, group in groups.items() if name in self.x}

    def _interest(self, tables: Box) -> Box:
        """Everything between the tables and the tower; returns the box that the interest comes from."""
        key, last = "history_BTE", tables
        if self.dien:
            last = self._follow(key, last, partial(self._recurrence, "extractor"))
            if self.auxiliary:
                self._auxiliary(tables, last)
            key = "state_BTH"
            if self.model.kind == "GRU":
                last = self._follow(key, last, partial(self._recurrence, "evolution"))
                key = "evolved_BTH"
        attention = self._attention(last.bottom + STEP)
        if self.dien and self.model.kind != "GRU":
            interest = self._recurrence("evolution", attention.bottom + 44)
        else:
            lines = [f"Σ weight · {key.split('_')[0]}"]
            interest = self._box("history", attention.bottom + 44, "attention", "Weighted sum", lines)
        self._down(self.trunk, last.bottom, interest.y, key)
        self.picture.arrow((self.trunk, attention.middle), (attention.x, attention.middle), joint=True)
        centre, above = attention.centre, attention.y - 20
        self.picture.arrow((centre, attention.bottom), (centre, interest.middle), (interest.right, interest.middle))
        self._label((centre + 8, attention.bottom + 20), "weight_BKT")
        self.picture.arrow((self.passing, above), (centre, above), (centre, attention.y), joint=True)
        return interest

    def _follow(self, key: str, last: Box, make: Callable[[float], Box]) -> Box:
        box = make(last.bottom + STEP)
        self._down(self.trunk, last.bottom, box.y, key)
        return box

    def _recurrence(self, name: str, y: float) -> Box:
        model, state = self.model, f"state {self.found.stages['state_BTH'][-1]}"
        kind = "GRU" if name == "extractor" else model.kind
        lines = [f"{kind} · {model.gate} gate", state] if kind == "AUGRU" else [f"{kind} · {state}"]
        lines += ["one per field"] if model.fields == "separate" else []
        return self._box("history", y, "recurrent", f"Interest {name}", [*lines, self._parameters(name)])

    def _attention(self, y: float) -> Box:
        model = self.model
        lines = ["bilinear"]
        if getattr(model, "attention", "mlp") != "bilinear":
            lines = [f"MLP {_dashes(model.attention_hidden)} · {model.attention_activation}"]
        lines.append("softmax" if model.softmax else "no softmax")
        lines += ["one per field"] if model.fields == "separate" else []
        lines.append(self._parameters("target_attention" if self.dien else "attention"))
        return self._box("candidate", y, "attention", "Target attention", lines, COLUMN - 32)

    def _auxiliary(self, tables: Box, extractor: Box) -> None:
        model, x = self.model, self.x["negative"]
        lines = ["next or sampled?", "inner product"]
        if model.auxiliary == "mlp":
            lines[1:] = [
                f"MLP {_dashes(model.auxiliary_hidden)} · {model.auxiliary_activation}",
                self._parameters("scorer"),
            ]
        self.scorer = box = self._box("negative", extractor.y, "loss", "Auxiliary scorer", lines)
        self._down(x + 40, tables.bottom, box.y, "negative_BTE")
        above, right, middle = box.y - 14, box.right - 24, min(extractor.middle, box.middle) + 8
        self.picture.arrow((self.trunk, above), (right, above), (right, box.y), joint=True)
        self.picture.text((right + 8, above - 6), "next behaviour", 11.5, SOFT)
        self.picture.arrow((extractor.x, middle), (box.right, middle))
        self._label(((box.right + extractor.x) / 2, middle - 23), "state_BTH", "middle")

    def _tower(self, interest: Box, tables: Box) -> Box:
        model, stages = self.model, self.found.stages
        parts = ["interest", *(n for n in ("candidate", "user", "context") if n in self.x)]
        widths = " → ".join(map(str, [stages["tower_input_BKF"][-1], *model.tower, 1]))
        extras = (" · batch norm" if model.batch_norm else "") + (
            f" · dropout {model.dropout:g}" if model.dropout else ""
        )
        lines = [f"[{', '.join(parts)}]", f"MLP {widths} · {model.tower_activation}{extras}", self._parameters("tower")]
        box = self._box("history", interest.bottom + STEP, "tower", "Tower", lines, self.right - self.x["history"])
        self._down(self.trunk, interest.bottom, box.y, next(name for name in stages if name.startswith("interest")))
        self._down(self.passing, tables.bottom, box.y, "candidate_BKE", "end")
        for name, label in (("user", "user_BU"), ("context", "context_BKC")):
            if name in self.x:
                self._down(self.x[name] + COLUMN / 2, tables.bottom, box.y, label)
        return box

    def _losses(self, tower: Box) -> float:
        """Draws the losses; returns where the picture ends."""
        y, regression = tower.bottom + STEP, self.loss.task == "regression"
        lines = ["squared error" if regression else "logistic", "mean over real candidates"]
        ctr = self._box("history", y, "loss", "CTR loss", lines)
        self._down(self.trunk, tower.bottom, y, "logit_BK")
        if not self.auxiliary:
            return ctr.bottom
        auxiliary = self._box("negative", y, "loss", "Auxiliary loss", ["logistic", "mean over real steps"])
        self._down(auxiliary.centre, self.scorer.bottom, y, "positive_logit_BS")
        self._label((auxiliary.centre + 8, self.scorer.bottom + 54), "negative_logit_BS")
        line = f"CTR loss + α · auxiliary loss, α = {self.loss.alpha:g}"
        total = self._box("negative", ctr.bottom + 48, "loss", "Total loss", [line], ctr.right - auxiliary.x)
        for box in (ctr, auxiliary):
            self.picture.arrow((box.centre, box.bottom), (box.centre, total.y))
        self.picture.text((auxiliary.centre + 8, auxiliary.bottom + 26), "× α", 13)
        return total.bottom

    def _box(self, column: str, y: float, kind: str, title: str, lines: Sequence[str], width: float = COLUMN) -> Box:
        return self.picture.box((self.x[column], y), width, COLOURS[kind], title, lines)

    def _down(self, x: float, top: float, bottom: float, name: str, side: str = "start") -> None:
        self.picture.arrow((x, top), (x, bottom))
        self._label((x + (8 if side == "start" else -8), top + 20), name, side)

    def _label(self, at: tuple[float, float], name: str, side: str = "start") -> None:
        (x, y), shape = at, _brackets(self.found.stages[name])
        self.picture.text((x, y), name, 11.5, INK, side=side, family=MONO)
        self.picture.text((x, y + 14), shape, 11, SOFT, side=side, family=MONO)

    def _parameters(self, module: str) -> str:
        return f"{self.found.count(module):,} parameters"


def _reads(name: str, table: str) -> str:
    return name if name == table else f"{name} → {table}"


def _dashes(sizes: Sequence[int]) -> str:
    return "-".join(map(str, sizes))
