"""The shapes of a model's parameters and main arrays, from tracing it, and their table: nothing is computed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from math import prod
from typing import Any

import jax
from flax import linen as nn

from dienjax.batch import Batch
from dienjax.models import MODELS
from dienjax.schema import Schema
from dienjax.training.checkpoint import named_leaves
from dienjax.training.losses import LossConfig, has_auxiliary

LOGISTIC = LossConfig()
Shape = tuple[Any, ...]


@dataclass(frozen=True)
class Shapes:
    """Shapes of parameters and running statistics by path, and of the main arrays, with B, T and K as letters.

    Attributes:
      modules: the top-level modules in the order in which they are called, with the name of their class.
    """

    params: dict[str, Shape]
    statistics: dict[str, Shape]
    stages: dict[str, Shape]
    modules: dict[str, str]

    def count(self, module: str = "") -> int:
        """The number of parameters of all, or of one top-level module (or of each field's, where it has one)."""
        return sum(prod(s) for path, s in self.params.items() if not module or _is(path.split("/")[0], module))


@lru_cache(maxsize=16)
def shapes(model: nn.Module, schema: Schema, loss: LossConfig = LOGISTIC) -> Shapes:
    """The shapes of everything, from tracing the model's initialisation with symbolic B, T and K."""
    auxiliary = has_auxiliary(model, loss)
    B, T, K = jax.export.symbolic_shape("B, T, K")
    batch = Batch.abstract(schema, B, T, K, negatives=auxiliary)
    calls: dict[str, tuple[Any, Any]] = {}
    order: dict[str, int] = {}
    modules: dict[str, str] = {}

    def note(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        path = "/".join(context.module.path)
        order.setdefault(path, len(order))
        output = call(*args, **kwargs)
        if context.method_name == "__call__":
            calls[path] = jax.tree.map(lambda x: getattr(x, "shape", ()), (args, output))
            if path and "/" not in path:
                modules[path] = type(context.module).__name__
        return output

    with nn.intercept_methods(note):
        variables = jax.eval_shape(partial(model.init, jax.random.key(0)), batch)
    params = {path: leaf.shape for path, leaf in named_leaves(variables["params"]).items()}
    params = dict(sorted(params.items(), key=lambda leaf: order[leaf[0].rpartition("/")[0]]))
    statistics = {path: leaf.shape for path, leaf in named_leaves(variables.get("batch_stats", {})).items()}
    embedded, output = calls["embedder"][1], calls[""][1]
    stages = {"history_BTE": embedded.history_BTE, "negative_BTE": embedded.negative_BTE if auxiliary else None}
    stages |= {n: getattr(embedded, n) for n in ("candidate_BKE", "user_BU", "context_BKC")}
    stages |= (_stages if type(model) in MODELS.values() else _outputs)(model, calls)
    stages["logit_BK"] = output.logit_BK
    if auxiliary:
        stages["positive_logit_BS"] = output.auxiliary.positive_logit_BS
        stages["negative_logit_BS"] = output.auxiliary.negative_logit_BS
    shown = {name: shape for name, shape in stages.items() if shape is not None and shape[-1] != 0}
    return Shapes(params, statistics, shown, modules)


def _outputs(model: nn.Module, calls: dict[str, tuple[Any, Any]]) -> dict[str, Shape]:
    """What each top-level module of any model returns, where that is one array."""
    outputs = {path: output for path, (_, output) in calls.items() if path not in ("", "embedder") and "/" not in path}
    is_one = {
        name: type(output) is tuple and not any(type(d) is tuple for d in output) for name, output in outputs.items()
    }
    return {name: output for name, output in outputs.items() if is_one[name]}


def _stages(model: Any, calls: dict[str, tuple[Any, Any]]) -> dict[str, Shape]:
    """The arrays between embedding and logits of DIN or DIEN, in their order; a name's last letters are its axes."""
    stages: dict[str, Shape] = {}

    def outputs(name: str) -> Shape:
        """The output of a module, or of each field's or channel's side by side."""
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
        parts = max(1, len(model.schema.channels))
        width = stages["evolved_BTH"][-1] if dien else parts * calls["embedder"][1].history_BTE[-1]
        stages["interest_BKH" if dien else "interest_BKE"] = (*stages["weight_BKT"][:2], width)
    seen = calls["tower"][0][0]
    stages["tower_input_BKF"] = (*stages["weight_BKT"][:2], sum(shape[-1] for shape in seen))
    return stages


def _is(module: str, name: str) -> bool:
    """Whether a top-level module is the one of that name, or that of one of the fields or channels."""
    return module == name or (module.startswith(f"{name}_") and "/" not in module)


def brackets(shape: Shape) -> str:
    """The shape as text, such as "[B, T − 1]"."""
    return "[" + ", ".join(str(d).replace(" - ", " − ") for d in shape) + "]"


def title_of(model: nn.Module) -> str:
    """The model's class, and for DIEN the kind of its interest evolution."""
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
                rows.append((rest, brackets(shape), f"{prod(shape):,}", f"{prod(shape) / total:.1%}"))
    rows.append(("total", "", f"{total:,}", "100.0%"))
    if found.statistics:
        rows.append(("running statistics", "", f"{sum(map(prod, found.statistics.values())):,}", ""))
    stages = [("stage", "shape"), *((name, brackets(shape)) for name, shape in found.stages.items())]
    return "\n\n".join((title_of(model), _aligned(rows, "<<>>"), _aligned(stages, "<<")))


def _aligned(rows: Sequence[tuple[str, ...]], sides: str) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{c:{s}{w}}" for c, s, w in zip(row, sides, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:]])
