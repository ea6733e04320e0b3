"""torch-rechub 0.9.0: its DIN and DIEN, key by key (torch_rechub/models/ranking/din.py, dien.py, basic/layers.py)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import linen as nn

from dienjax.interop import columns as order
from dienjax.interop.match import Link, Shapes
from dienjax.interop.torch_layers import batch_norm, linear, linear_widths, recurrent, tables
from dienjax.schema import Pool

EMBEDDING = "embedding.embed_dict."
SCORER = ""

SHARED: dict[str, tuple] = {
    "fields": ("separate",),
    "attention_time": ("",),
    "tower_activation": ("dice_torch_rechub",),
    "batch_norm": ("torch",),
    "head": ("one",),
}
FIELDS: dict[str, dict[str, tuple]] = {
    "DIN": SHARED
    | {
        "padding": ("torch_rechub",),
        "attention_activation": ("dice_torch_rechub", "relu", "sigmoid", "prelu_torch"),
        "attention_batch_norm": ("torch",),
        "softmax": (False, True),
    },
    "DIEN": SHARED
    | {
        "kind": ("AUGRU",),
        "extractor": ("GRU",),
        "cell": ("torch_rechub",),
        "gate": ("paper",),
        "state": (0,),
        "attention": ("bilinear",),
        "softmax": (True,),
        "auxiliary": ("inner",),
    },
}
"""The values of our modules' fields with which they compute what the library does; its default comes first."""

POOLS: dict[str, tuple[Pool, ...]] = {"DIN": ("mean", "sum"), "DIEN": ("mean", "sum")}
"""How its SequenceFeature pool a set."""


def infer(name: str, shapes: Shapes) -> dict[str, Any]:
    """The fields of our module that follow from the keys and shapes."""
    found: dict[str, Any] = {}
    attention = "attention_layers.0.attention.mlp."
    for field, prefix in (("tower", "mlp.mlp."), ("attention_hidden", attention)):
        if widths := linear_widths(shapes, prefix):
            found[field] = widths[:-1]
    if f"{attention}2.weight" in shapes:
        found["attention_activation"] = "prelu_torch"
    return found


def links(model: nn.Module, columns: Sequence[str], names: Mapping[str, str], scorer: bool) -> list[Link]:
    """Every tensor of the library's model, and where it is in ours.

    Args:
      columns: every field: the behaviours in the order of the library's history and target features, and `features`.
      names: the library's names of the tables that are called differently here: of the feature that owns each.
      scorer: unused, as its auxiliary loss has no parameters.
    """
    m: Any = model
    schema = m.schema
    dim = {b.name: schema.table(b.table).dim for b in schema.behaviours}
    fields = [name for _, name in order.behaviours(columns, schema)]
    found = tables(schema, EMBEDDING, names)
    for f, field in enumerate(fields):
        if type(model).__name__ == "DIN":
            found += _attention(f, field, 4 * dim[field], tuple(m.attention_hidden), m.attention_activation)
        else:
            found += _recurrences(f, field, dim[field])
    source = [g for of in (order.interests, order.behaviours, order.sparse, order.dense) for g in of(columns, schema)]
    rows = order.positions(schema, source, order.tower_blocks(schema))
    hidden = tuple(m.tower)
    found += _dense("mlp.mlp.0", "tower/dense_0" if hidden else "tower/out", (len(rows), (*hidden, 1)[0]), rows)
    return found + _hidden("mlp.mlp.", "tower", hidden, m.tower_activation)


def _attention(f: int, field: str, width: int, hidden: tuple[int, ...], activation: str) -> list[Link]:
    key, module = f"attention_layers.{f}.attention.mlp.", f"attention_{field}"
    first = linear(f"{key}0", f"params/{module}/kernel", f"params/{module}/bias", (width, hidden[0]))
    return first + _hidden(key, f"{module}/mlp", hidden, activation)


def _recurrences(f: int, field: str, width: int) -> list[Link]:
    """An nn.GRU, and an AUGRU whose matrices are used as they are, one for each gate; its u writes, like ours."""
    key, path = f"interest_evolving_layers.{f}", f"params/evolution_{field}"
    found = recurrent(f"interest_extractor_layers.{f}", f"extractor_{field}", np.arange(width), "_l0")
    for letter, leaf in (("W", "cell/input_kernel"), ("U", "cell/kernel")):
        shapes: Shapes = {f"{key}.augru_cell.{letter}{gate}": (width, width) for gate in "ruh"}
        found.append(Link(shapes, f"{path}/{leaf}", lambda *gates: np.concatenate(gates, axis=1)))
    shapes = {f"{key}.augru_cell.b{gate}": (1, width) for gate in "ruh"}
    found.append(Link(shapes, f"{path}/cell/bias", lambda *gates: np.concatenate(gates, axis=1)[0]))
    bilinear = f"params/target_attention_{field}/bilinear/kernel"  # (h·Wa)·q there, (q·W)·h here
    return [*found, Link({f"{key}.Wa": (width, width)}, bilinear, np.transpose)]


def _hidden(key: str, module: str, hidden: tuple[int, ...], activation: str) -> list[Link]:
    """An MLP without its first Linear; its Sequential has Linear, BatchNorm1d, activation, Dropout for each layer."""
    found: list[Link] = []
    for i, width in enumerate(hidden):
        layer = f"dense_{i + 1}" if i + 1 < len(hidden) else "out"
        found += batch_norm(f"{key}{4 * i + 1}", f"{module}/norm_{i}", width)
        if activation == "dice_torch_rechub":
            found.append(Link({f"{key}{4 * i + 2}.alpha": (1,)}, f"params/{module}/activation_{i}/dice/alpha"))
        elif activation == "prelu_torch":
            found.append(Link({f"{key}{4 * i + 2}.weight": (1,)}, f"params/{module}/activation_{i}/alpha"))
        found += _dense(f"{key}{4 * i + 4}", f"{module}/{layer}", (width, (*hidden, 1)[i + 1]))
    return found


def _dense(key: str, module: str, width: tuple[int, int], rows: np.ndarray | None = None) -> list[Link]:
    return linear(key, f"params/{module}/kernel", f"params/{module}/bias", width, rows)
