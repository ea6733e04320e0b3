"""deepctr-torch 0.3.0: its DIN and DIEN, key by key (deepctr_torch/models/din.py, dien.py, layers/sequence.py)."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from flax import linen as nn

from dienjax.interop import columns as order
from dienjax.interop.match import Link, Shapes
from dienjax.interop.torch_layers import batch_norm, linear, linear_widths, recurrent, repeated, tables
from dienjax.schema import Pool

EMBEDDING = "embedding_dict."
SCORER = "interest_extractor.auxiliary_net."

ACTIVATIONS = ("relu", "sigmoid", "prelu_torch")
SHARED: dict[str, tuple] = {
    "fields": ("joined",),
    "attention_time": ("",),
    "attention_batch_norm": (False,),
    "tower_activation": ACTIVATIONS,
    "batch_norm": (False, "torch"),
    "head": ("one",),
}
FIELDS: dict[str, dict[str, tuple]] = {
    "DIN": SHARED
    | {
        "padding": ("masked",),
        "attention_activation": ("dice_deepctr_torch", *ACTIVATIONS),
        "softmax": (False, True),
    },
    "DIEN": SHARED
    | {
        "kind": ("GRU", "AIGRU", "AGRU", "AUGRU"),
        "extractor": ("GRU",),
        "cell": ("deepctr_torch",),
        "gate": ("paper",),
        "state": (0,),
        "attention": ("mlp",),
        "attention_activation": ("relu", "sigmoid", "prelu_torch", "dice_deepctr_torch"),
        "softmax": (True, False),
        "auxiliary": ("mlp",),
        "auxiliary_hidden": ((100, 50),),
        "auxiliary_activation": ("sigmoid",),
    },
}
"""The values of our modules' fields with which they compute what the library does; its default comes first."""

POOLS: dict[str, tuple[Pool, ...]] = {"DIN": ("mean", "sum", "max"), "DIEN": ()}
"""How its VarLenSparseFeat pool a set. DIEN takes them, and their tables, but its tower never sees them."""


def infer(name: str, shapes: Shapes) -> dict[str, Any]:
    """The fields of our module that follow from the keys and shapes."""
    attention, tower = f"{_attention(name)}.dnn.", "dnn."
    found = {
        "attention_hidden": linear_widths(shapes, f"{attention}linears."),
        "attention_activation": _activation(shapes, attention),
        "tower": linear_widths(shapes, f"{tower}linears."),
        "tower_activation": _activation(shapes, tower),
        "batch_norm": "torch" if f"{tower}bn.0.weight" in shapes else "",
    }
    return {field: value for field, value in found.items() if value}


def links(model: nn.Module, columns: Sequence[str], names: Mapping[str, str], scorer: bool) -> list[Link]:
    """Every tensor of the library's model, and where it is in ours.

    Args:
      columns: every field in the order of the library's feature columns.
      names: the library's `embedding_name` of the tables that are called differently here.
      scorer: whether there is an auxiliary network, as with use_negsampling=True.
    """
    m: Any = model
    name, schema = type(model).__name__, m.schema
    units = order.unit_positions(schema, columns)
    E, mine = len(units), f"{'' if name == 'DIN' else 'target_'}attention"
    # Sets come after single ids, whatever their place among the feature columns.
    ids = {f.name: f.most for f in schema.id_fields}
    sparse = [("field", c) for c in sorted((c for c in columns if c in ids), key=lambda c: ids[c] > 0)]
    interests, dense = order.interests(columns, schema), order.dense(columns, schema)
    tower = [*sparse, *interests, *dense] if name == "DIN" else [*interests, *sparse, *dense]
    rows = order.positions(schema, tower, order.tower_blocks(schema))

    key = _attention(name)
    found = tables(schema, EMBEDDING, names)
    hidden, activation = tuple(m.attention_hidden), m.attention_activation
    found += linear(f"{key}.dnn.linears.0", f"params/{mine}/kernel", f"params/{mine}/bias", (4 * E, hidden[0]),
                    repeated(units, 4))  # fmt: skip
    found += _hidden(f"{key}.dnn.", f"{mine}/mlp", hidden, activation, False)
    found += _dense(f"{key}.dense", f"{mine}/mlp/out", (hidden[-1], 1))
    if name == "DIEN":
        found += _recurrences(m.kind, units)
        found += _scorer(tuple(m.auxiliary_hidden), units) if scorer else []
    hidden = tuple(m.tower)
    found += _dense("dnn.linears.0", "tower/dense_0", (len(rows), hidden[0]), rows)
    found += _hidden("dnn.", "tower", hidden, m.tower_activation, bool(m.batch_norm))
    last, _ = _dense("dnn_linear" if name == "DIN" else "linear", "tower/out", (hidden[-1], 1))
    return [*found, last, Link({"out.bias": (1,)}, "params/tower/out/bias")]


def _attention(name: str) -> str:
    return "attention.local_att" if name == "DIN" else "interest_evolution.attention.local_att"


def _recurrences(kind: str, units: Any) -> list[Link]:
    """The interest extractor, an nn.GRU, and the evolution: another one, or a cell whose z writes (AGRU ignores z)."""
    key = "interest_evolution.interest_evolution"
    extractor = recurrent("interest_extractor.gru", "extractor", units, "_l0")
    if kind in ("GRU", "AIGRU"):
        return [*extractor, *recurrent(key, "evolution", units, "_l0")]
    return [*extractor, *recurrent(f"{key}.rnn", "evolution", units, update_is_new=True, tied=kind == "AUGRU")]


def _scorer(hidden: tuple[int, ...], units: Any) -> list[Link]:
    widths = (2 * len(units), *hidden, 1)
    found: list[Link] = []
    for i, width in enumerate(pairwise(widths)):
        layer = f"dense_{i}" if i < len(hidden) else "out"
        rows = repeated(units, 2) if i == 0 else None  # the state, then the behaviour
        found += _dense(f"{SCORER}linears.{i}", f"scorer/mlp/{layer}", width, rows)
    return found


def _hidden(key: str, module: str, hidden: tuple[int, ...], activation: str, normed: bool) -> list[Link]:
    """A DNN without its first Linear: the other Linears, the batch norms and the activations' parameters."""
    found: list[Link] = []
    for i, width in enumerate(hidden):
        if i > 0:
            found += _dense(f"{key}linears.{i}", f"{module}/dense_{i}", (hidden[i - 1], width))
        if normed:
            found += batch_norm(f"{key}bn.{i}", f"{module}/norm_{i}", width)
        there, here = f"{key}activation_layers.{i}", f"{module}/activation_{i}"
        if activation == "dice_deepctr_torch":
            found.append(Link({f"{there}.alpha": (width, 1)}, f"params/{here}/dice/alpha", lambda alpha: alpha[:, 0]))
            found += batch_norm(f"{there}.bn", f"{here}/dice/norm", width)
        elif activation == "prelu_torch":
            found.append(Link({f"{there}.weight": (1,)}, f"params/{here}/alpha"))
    return found


def _dense(key: str, module: str, width: tuple[int, int], rows: Any = None) -> list[Link]:
    return linear(key, f"params/{module}/kernel", f"params/{module}/bias", width, rows)


def _activation(shapes: Shapes, key: str) -> str:
    """The activation, if it has parameters and so appears in the keys; else empty."""
    if f"{key}activation_layers.0.alpha" in shapes:
        return "dice_deepctr_torch"
    return "prelu_torch" if f"{key}activation_layers.0.weight" in shapes else ""
