"""A model as an SVG of its data flow, from the fields through the tables to the loss, with shapes on the arrows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from flax import linen as nn

from dienjax.drawing.svg import INK, MONO, SOFT, Box, Picture, chips_height
from dienjax.models import MODELS
from dienjax.report.shapes import LOGISTIC, Shapes, brackets, shapes, title_of
from dienjax.schema import Dense, Field, Schema
from dienjax.training.losses import LossConfig, has_auxiliary

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
    """The SVG of DIN's or DIEN's data flow, or of any other model's top-level modules in the order of their calls."""
    found = shapes(model, schema, loss)
    sheet = Sheet(model, schema, loss, found, _columns(schema, found))
    sheet.picture.text((MARGIN, 48), title_of(model), 22, weight="600")
    sheet.picture.text((MARGIN, 72), f"{found.count():,} parameters", 13, SOFT)
    sheet.picture.text((MARGIN, 91), "B batch · T history slots · K candidates", 12, SOFT)
    tables = _tables(sheet, 118)
    bottom = (_network if type(model) in MODELS.values() else _modules)(sheet, tables)
    stages = "; ".join(f"{name} {brackets(shape)}" for name, shape in found.stages.items())
    return sheet.picture.svg(sheet.right + MARGIN, bottom + MARGIN, f"{title_of(model)}: data flow", stages)


@dataclass(frozen=True)
class Sheet:
    """What the parts of a diagram share.

    Attributes:
      x: where each column begins; the trunk is the middle of the history's.
    """

    model: Any
    schema: Schema
    loss: LossConfig
    found: Shapes
    x: dict[str, float]
    picture: Picture = field(default_factory=Picture)

    @property
    def is_dien(self) -> bool:
        return hasattr(self.model, "kind")

    @property
    def auxiliary(self) -> bool:
        return has_auxiliary(self.model, self.loss)

    @property
    def right(self) -> float:
        return max(self.x.values()) + COLUMN

    @property
    def trunk(self) -> float:
        return self.x["history"] + COLUMN / 2

    def box(self, column: str, y: float, kind: str, title: str, lines: Sequence[str], width: float = COLUMN) -> Box:
        return self.picture.box((self.x[column], y), width, COLOURS[kind], title, lines)

    def down(self, x: float, top: float, bottom: float, name: str, side: str = "start") -> None:
        """An arrow that carries the stage `name`."""
        self.picture.arrow((x, top), (x, bottom))
        self.label((x + (8 if side == "start" else -8), top + 20), name, side)

    def label(self, at: tuple[float, float], name: str, side: str = "start") -> None:
        (x, y), shape = at, brackets(self.found.stages[name])
        self.picture.text((x, y), name, 11.5, INK, side=side, family=MONO)
        self.picture.text((x, y + 14), shape, 11, SOFT, side=side, family=MONO)

    def parameters(self, module: str) -> str:
        return f"{self.found.count(module):,} parameters"


def _columns(schema: Schema, found: Shapes) -> dict[str, float]:
    there = {"negative": "negative_BTE" in found.stages, "history": True, "candidate": True}
    there |= {"user": "user_BU" in found.stages, "context": "context_BKC" in found.stages}
    columns, x = {}, float(MARGIN)
    for name in (name for name, is_there in there.items() if is_there):
        columns[name] = x
        x += COLUMN + (100 if name == "negative" else GAP)
    return columns


def _network(sheet: Sheet, tables: Box) -> float:
    """DIN or DIEN below its tables; returns where the picture ends."""
    extractor = scorer = None
    if sheet.is_dien:
        extractor = _recurrence(sheet, "extractor", tables.bottom + STEP)
        sheet.down(sheet.trunk, tables.bottom, extractor.y, "history_BTE")
        if sheet.auxiliary:
            scorer = _auxiliary_scorer(sheet, tables, extractor)
    tower = _tower(sheet, _interest(sheet, extractor or tables), tables)
    return _losses(sheet, tower, scorer)


def _modules(sheet: Sheet, tables: Box) -> float:
    """The top-level modules of any model, one below the other; which feeds which is not known."""
    last = tables
    for name, kind in sheet.found.modules.items():
        if name == "embedder":
            continue
        lines = [kind, *([f"→ {brackets(sheet.found.stages[name])}"] if name in sheet.found.stages else [])]
        box = sheet.box("history", last.bottom + 30, "recurrent", name, [*lines, sheet.parameters(name)])
        sheet.picture.arrow((sheet.trunk, last.bottom), (sheet.trunk, box.y))
        last = box
    return _losses(sheet, last, None)


def _tables(sheet: Sheet, y: float) -> Box:
    """The fields, and below them the band of tables that all of them go through."""
    groups = _groups(sheet)
    bottom = y + max(chips_height(chips, COLUMN) for _, chips in groups.values())
    x = min(sheet.x.values())
    tables = [f"{t.name} · {t.size:,} × {t.dim}" for t in sheet.schema.tables]
    title = f"Embedding tables · {sheet.parameters('embedder')}"
    band = sheet.picture.chips((x, bottom + 36), sheet.right - x, COLOURS["table"], title, tables)
    for name, (title, chips) in groups.items():
        at = (sheet.x[name], bottom - chips_height(chips, COLUMN))
        box = sheet.picture.chips(at, COLUMN, COLOURS["field"], title, chips)
        sheet.picture.arrow((box.centre, bottom), (box.centre, band.y))
    return band


def _groups(sheet: Sheet) -> dict[str, tuple[str, list[str]]]:
    """Title and fields of each column."""
    schema = sheet.schema
    behaviours = [_reads(f) for f in schema.event_fields]
    groups = {
        "negative": ("Sampled negatives [B, T]", behaviours),
        "history": ("Past behaviours [B, T]", behaviours),
        "candidate": ("Candidates [B, K]", behaviours),
        "user": ("User [B]", [_reads(f) for f in schema.side("user")]),
        "context": ("Per candidate [B, K]", [_reads(f) for f in schema.side("candidate")]),
    }
    return {name: group for name, group in groups.items() if name in sheet.x}


def _recurrence(sheet: Sheet, name: str, y: float) -> Box:
    model, state = sheet.model, f"state {sheet.found.stages['state_BTH'][-1]}"
    kind = model.extractor if name == "extractor" else model.kind
    lines = [f"{kind} · {model.gate} gate", state] if kind.endswith("AUGRU") else [f"{kind} · {state}"]
    lines += _several(sheet)
    return sheet.box("history", y, "recurrent", f"Interest {name}", [*lines, sheet.parameters(name)])


def _several(sheet: Sheet) -> list[str]:
    """Whether there is one of a module for each field or channel."""
    if sheet.schema.channels:
        return ["one per channel"]
    return ["one per field"] if sheet.model.fields == "separate" else []


def _auxiliary_scorer(sheet: Sheet, tables: Box, extractor: Box) -> Box:
    model, x = sheet.model, sheet.x["negative"]
    lines = ["next or sampled?", "inner product"]
    if model.auxiliary == "mlp":
        mlp = f"MLP {_dashes(model.auxiliary_hidden)} · {model.auxiliary_activation}"
        lines[1:] = [mlp, sheet.parameters("scorer")]
    box = sheet.box("negative", extractor.y, "loss", "Auxiliary scorer", lines)
    sheet.down(x + 40, tables.bottom, box.y, "negative_BTE")
    above, right, middle = box.y - 14, box.right - 24, min(extractor.middle, box.middle) + 8
    sheet.picture.arrow((sheet.trunk, above), (right, above), (right, box.y), joint=True)
    sheet.picture.text((right + 8, above - 6), "next behaviour", 11.5, SOFT)
    sheet.picture.arrow((extractor.x, middle), (box.right, middle))
    sheet.label(((box.right + extractor.x) / 2, middle - 23), "state_BTH", "middle")
    return box


def _interest(sheet: Sheet, last: Box) -> Box:
    """Attention, and what it weighs, below `last`; returns the box that the interest comes from."""
    key = "state_BTH" if sheet.is_dien else "history_BTE"
    if sheet.is_dien and sheet.model.kind == "GRU":
        second = _recurrence(sheet, "evolution", last.bottom + STEP)
        sheet.down(sheet.trunk, last.bottom, second.y, key)
        key, last = "evolved_BTH", second
    attention = _attention(sheet, last.bottom + STEP)
    if sheet.is_dien and sheet.model.kind != "GRU":
        interest = _recurrence(sheet, "evolution", attention.bottom + 44)
    else:
        lines = [f"Σ weight · {key.split('_')[0]}"]
        interest = sheet.box("history", attention.bottom + 44, "attention", "Weighted sum", lines)
    sheet.down(sheet.trunk, last.bottom, interest.y, key)
    sheet.picture.arrow((sheet.trunk, attention.middle), (attention.x, attention.middle), joint=True)
    centre, above = attention.centre, attention.y - 20
    sheet.picture.arrow((centre, attention.bottom), (centre, interest.middle), (interest.right, interest.middle))
    sheet.label((centre + 8, attention.bottom + 20), "weight_BKT")
    passing = _passing(sheet)
    sheet.picture.arrow((passing, above), (centre, above), (centre, attention.y), joint=True)
    return interest


def _attention(sheet: Sheet, y: float) -> Box:
    model = sheet.model
    lines = ["bilinear"]
    if getattr(model, "attention", "mlp") != "bilinear":
        lines = [f"MLP {_dashes(model.attention_hidden)} · {model.attention_activation}"]
    lines += [f"+ term of {model.attention_time}"] if getattr(model, "attention_time", "") else []
    lines.append("softmax" if model.softmax else "no softmax")
    lines += _several(sheet)
    lines.append(sheet.parameters("target_attention" if sheet.is_dien else "attention"))
    return sheet.box("candidate", y, "attention", "Target attention", lines, COLUMN - 32)


def _passing(sheet: Sheet) -> float:
    """Where the candidate passes by the attention, down to the tower."""
    return sheet.x["candidate"] + COLUMN - 12


def _tower(sheet: Sheet, interest: Box, tables: Box) -> Box:
    model, stages = sheet.model, sheet.found.stages
    parts = ["interest", *(n for n in ("candidate", "user", "context") if n in sheet.x)]
    widths = " → ".join(map(str, [stages["tower_input_BKF"][-1], *model.tower, 1]))
    extras = (" · batch norm" if model.batch_norm else "") + (f" · dropout {model.dropout:g}" if model.dropout else "")
    lines = [f"[{', '.join(parts)}]", f"MLP {widths} · {model.tower_activation}{extras}", sheet.parameters("tower")]
    box = sheet.box("history", interest.bottom + STEP, "tower", "Tower", lines, sheet.right - sheet.x["history"])
    sheet.down(sheet.trunk, interest.bottom, box.y, next(name for name in stages if name.startswith("interest")))
    sheet.down(_passing(sheet), tables.bottom, box.y, "candidate_BKE", "end")
    for name, label in (("user", "user_BU"), ("context", "context_BKC")):
        if name in sheet.x:
            sheet.down(sheet.x[name] + COLUMN / 2, tables.bottom, box.y, label)
    return box


def _losses(sheet: Sheet, above: Box, scorer: Box | None) -> float:
    """The losses, the auxiliary one below its scorer; returns where the picture ends."""
    y, regression = above.bottom + STEP, sheet.loss.task == "regression"
    lines = ["squared error" if regression else "logistic", "mean over real candidates"]
    ctr = sheet.box("history", y, "loss", "CTR loss", lines)
    sheet.down(sheet.trunk, above.bottom, y, "logit_BK")
    if not sheet.auxiliary:
        return ctr.bottom
    auxiliary = sheet.box("negative", y, "loss", "Auxiliary loss", ["logistic", "mean over real steps"])
    if scorer:
        sheet.down(auxiliary.centre, scorer.bottom, y, "positive_logit_BS")
        sheet.label((auxiliary.centre + 8, scorer.bottom + 54), "negative_logit_BS")
    line = f"CTR loss + α · auxiliary loss, α = {sheet.loss.alpha:g}"
    total = sheet.box("negative", ctr.bottom + 48, "loss", "Total loss", [line], ctr.right - auxiliary.x)
    for box in (ctr, auxiliary):
        sheet.picture.arrow((box.centre, box.bottom), (box.centre, total.y))
    sheet.picture.text((auxiliary.centre + 8, auxiliary.bottom + 26), "× α", 13)
    return total.bottom


def _reads(field: Field) -> str:
    if isinstance(field, Dense):
        return f"{field.name} · number" + (" or missing" if field.scale else "")
    table = "" if field.name == field.table else f" → {field.table}"
    return f"{field.name}{table}" + (f" · {field.pool} of ≤ {field.most}" if field.most else "")


def _dashes(sizes: Sequence[int]) -> str:
    return "-".join(map(str, sizes))
