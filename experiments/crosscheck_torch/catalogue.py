"""Every compared variant of the four models."""

from dataclasses import replace
from itertools import product
from typing import Any

from experiments.crosscheck_torch.variants import (
    FIELDS,
    FIELDS_DENSE,
    ITEM_ONLY,
    LARGEST_OF_SET,
    MIXED,
    ONE_FIELD,
    PLAIN,
    PROFILE,
    SETS,
    SHARED,
    Features,
    Variant,
)

KINDS = ("GRU", "AIGRU", "AGRU", "AUGRU")


def deepctr_torch_din(
    title: str,
    features: Features = PROFILE,
    softmax: bool = False,
    attention: str = "dice",
    tower: str = "relu",
    batch_norm: bool = False,
) -> Variant:
    theirs: dict[str, Any] = {
        "att_weight_normalization": softmax,
        "att_activation": attention,
        "dnn_activation": tower,
        "dnn_use_bn": batch_norm,
    }
    return Variant(
        "deepctr_torch",
        "DIN",
        title,
        features,
        theirs | {"att_hidden_size": (6, 4), "dnn_hidden_units": (8, 5)},
        {
            "softmax": softmax,
            "attention_activation": our_activation(attention),
            "tower_activation": our_activation(tower),
        },
        empty=not softmax,
        remark="no empty histories, see below" if softmax else "",
    )


def deepctr_torch_dien(
    title: str,
    features: Features = PROFILE,
    kind: str = "AUGRU",
    softmax: bool = True,
    attention: str = "relu",
    batch_norm: bool = False,
    alpha: float = 1.0,
) -> Variant:
    theirs = {
        "gru_type": kind,
        "use_negsampling": alpha > 0,
        "alpha": alpha,
        "use_bn": batch_norm,
        "att_weight_normalization": softmax,
        "att_activation": attention,
    }
    return Variant(
        "deepctr_torch",
        "DIEN",
        title,
        features,
        theirs | {"att_hidden_units": (6, 4), "dnn_hidden_units": (8, 5)},
        {"kind": kind, "softmax": softmax, "attention_activation": our_activation(attention)},
        alpha,
        empty=attention != "dice",
        remark="no empty histories, see below" if attention == "dice" else "",
    )


def torch_rechub_din(title: str, features: Features, softmax: bool = False, dims: tuple[int, ...] = (6,)) -> Variant:
    theirs = {"mlp_params": {"dims": [8, 5]}, "attention_mlp_params": {"dims": dims, "use_softmax": softmax}}
    return Variant("torch_rechub", "DIN", title, features, theirs, {"softmax": softmax})


def torch_rechub_dien(title: str, features: Features, alpha: float = 0.2) -> Variant:
    theirs = {"mlp_params": {"dims": [8, 5]}}
    return Variant("torch_rechub", "DIEN", title, features, theirs, {}, alpha, padding_idx=True)


def our_activation(activation: str) -> str:
    """Our name of a deepctr-torch activation."""
    return {"dice": "dice_deepctr_torch", "prelu": "prelu_torch"}.get(activation, activation)


def _kind(kind: str, softmax: bool) -> Variant:
    return deepctr_torch_dien(f"{kind}, softmax {'on' if softmax else 'off'}", kind=kind, softmax=softmax)


# The place of a variant is the seed of its weights: new ones follow.
VARIANTS = (
    deepctr_torch_din("softmax off, Dice (its defaults)"),
    deepctr_torch_din("softmax on, Dice", softmax=True),
    deepctr_torch_din("relu attention", attention="relu"),
    deepctr_torch_din("sigmoid attention", attention="sigmoid"),
    deepctr_torch_din("PReLU everywhere", attention="prelu", tower="prelu"),
    deepctr_torch_din("batch norm", batch_norm=True),
    deepctr_torch_din("item only", ITEM_ONLY),
    deepctr_torch_din("item and category", PLAIN),
    deepctr_torch_din("context columns", MIXED),
    deepctr_torch_din("shared embedding_name", SHARED),
    *(_kind(kind, softmax) for kind, softmax in product(KINDS, (True, False))),
    deepctr_torch_dien("AUGRU, no negatives", alpha=0.0),
    deepctr_torch_dien("AUGRU, Dice attention", attention="dice"),
    deepctr_torch_dien("AUGRU, batch norm", batch_norm=True),
    deepctr_torch_dien("AUGRU, item only", ITEM_ONLY),
    deepctr_torch_dien("AUGRU, context columns", MIXED),
    deepctr_torch_dien("GRU, shared embedding_name", SHARED, kind="GRU"),
    torch_rechub_din("softmax off (its default)", FIELDS),
    torch_rechub_din("softmax on", FIELDS, softmax=True),
    torch_rechub_din("two attention layers, one field", ONE_FIELD, dims=(6, 4)),
    torch_rechub_dien("two fields", FIELDS),
    torch_rechub_dien("one field", ONE_FIELD),
    torch_rechub_dien("two fields, dense, context", FIELDS_DENSE),
    deepctr_torch_din("sets: mean and sum", SETS),
    replace(deepctr_torch_din("sets: max", LARGEST_OF_SET), empty_sets=False, remark="no empty sets, see below"),
    torch_rechub_din("sets: mean and sum", SETS),
)
