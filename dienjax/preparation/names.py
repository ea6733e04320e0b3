"""Columns that cannot be fields: their name would fail only after training, or they leak the label."""

from collections.abc import Sequence

from dienjax.preparation.settings import Fields

RESERVED = frozenset(
    # what PaddedArrays keeps, and so predict; what a prediction is called; what an exported encoder gives to its scorer
    ["hist_length", "hist_label", "probability", "prediction", "interest_states", "history_mask", "user_vector"]
)


def refuse_reserved(fields: Fields, user_id: bool) -> None:
    """Raise ValueError for a field whose name is taken among the inputs and outputs of predict or of exports."""
    of_history = {f"{prefix}hist_{name}": name for name in fields.of_events for prefix in ("", "neg_")}
    for name in fields.names(user_id):
        if name in RESERVED or name in of_history:
            taken = f"is that of the history of {of_history[name]!r}" if name in of_history else "is reserved"
            raise ValueError(f"prepare: column {name!r} cannot be a field, its name {taken}: rename the column")
    for history, name in of_history.items():
        if history in RESERVED:
            raise ValueError(
                f"prepare: column {name!r} cannot be a field, the name {history!r} of its history is reserved: rename "
                "the column"
            )
    if "label" in fields.how:
        raise ValueError(
            "prepare: a column of numbers cannot be called 'label', the store uses this name for the label: rename it"
        )


def refuse_label_leak(fields: Fields, user_id: bool, label: str, read: Sequence[str]) -> None:
    """Raise ValueError if one of the columns `read`, from which the label is computed, is also a field of the model."""
    for name in read:
        if name in fields.names(user_id):
            raise ValueError(
                f"prepare: the label {label!r} reads column {name!r}, which is also a field and leaks the label: leave "
                "it out of the other columns"
            )
