"""Ready-made padded arrays as a dataset, for data that comes without a log."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from dienjax.batch import Batch
from dienjax.data.histories import gather
from dienjax.errors import nearest
from dienjax.inputs.channels import kept, numbers
from dienjax.schema import Dense, Field, Schema, shaped


class PaddedArrays:
    """N samples given as columns, in the form of DeepCTR's tutorials; everything is checked here, once.

    Columns, for each field `b` of an event: `hist_b` ids [N, T] right-padded with 0, oldest first, or numbers; `b` the
    candidates', [N] or [N, K]; optionally `neg_hist_b` sampled negatives [N, T], for all of these fields or none.
    Fields of time are given as ids too; `dienjax.inputs.time_fields` computes them.
    Other fields by their name: [N] for the user side, [N] or [N, K] for the candidate side. A set of up to M ids has
    one more axis, with 0 where it has fewer; a number that has a scale may be NaN, missing.
    Optionally `hist_length` [N], the number of real behaviours (otherwise: the item's id is not 0), and
    `hist_label` [N, T], 1 where a behaviour was a positive signal.

    Where the schema has channels, each event's follows from its type, and of each channel the most recent are kept.

    With [N, K] a candidate whose item id is 0 is padding: it is masked.

    Args:
      label: 0/1 or numbers, [N] or [N, K] as the candidates; None (zeros) if there is nothing to learn.
      user: [N], the user of each sample, for metrics per user; None: each sample is a user of its own.

    Raises:
      ValueError: a column that is missing or unknown, misshapen, out of range, NaN, or padded on the left.
      TypeError: ids that are not integers.
    """

    def __init__(self, schema: Schema, columns: Mapping[str, Any], label: Any = None, user: Any = None) -> None:
        self.schema = schema
        arrays = {str(name): np.asarray(value) for name, value in columns.items()}
        self.has_negatives = any(f"neg_hist_{f.name}" in arrays for f in schema.event_fields)
        _check_names(schema, arrays, self.has_negatives)
        N, T = _history_shape(arrays, schema)
        K = arrays[schema.item].shape[1] if arrays[schema.item].ndim == 2 else 1

        def of(fields: Iterable[Field], prefix: str, *axes: int) -> dict[str, np.ndarray]:
            return {f.name: _column(arrays, f"{prefix}{f.name}", schema, f, axes) for f in fields}

        self.history = of(schema.event_fields, "hist_", N, T)
        self.negative = of(schema.event_fields, "neg_hist_", N, T) if self.has_negatives else {}
        self.candidate = of((*schema.event_fields, *schema.side("candidate")), "", N, K)
        self.user = of(schema.side("user"), "", N)

        self.length_N = _lengths(arrays, self.history[schema.item])
        _refuse_holes(f"hist_{schema.item}", self.history[schema.item], self.length_N)
        if self.has_negatives:
            _refuse_holes(f"neg_hist_{schema.item}", self.negative[schema.item], self.length_N)
        self.mask_NK = self.candidate[schema.item] != 0
        if not self.mask_NK.any(axis=1).all():
            row = int(np.argmin(self.mask_NK.any(axis=1)))
            raise ValueError(
                f"PaddedArrays: column {schema.item!r} has no candidate in row {row}, only id 0, which is padding; "
                "expected at least one id >= 1 (1 is unknown)"
            )
        label_N = np.zeros((N, K)) if label is None else np.asarray(label)
        self.label_NK = _numbers(label_N, "label", (N, K))
        self.hist_label_NT = _numbers(arrays["hist_label"], "hist_label", (N, T)) if "hist_label" in arrays else None
        if schema.channels:
            self._keep_channels()
        self.user_N = np.arange(N) if user is None else np.asarray(user)
        if self.user_N.shape != (N,):
            raise ValueError(f"PaddedArrays: user has shape {self.user_N.shape}; expected {(N,)}")

    def _keep_channels(self) -> None:
        """Move the events that their channels keep to the front of each history."""
        type_NT = self.history[self.schema.type]
        kept_NT = np.arange(type_NT.shape[1]) < self.length_N[:, None]
        kept_NT[kept_NT] = kept(self.schema, type_NT[kept_NT], self.length_N)
        order_NT, self.length_N = np.argsort(~kept_NT, axis=1, kind="stable"), kept_NT.sum(axis=1)

        def moved(array_NT: np.ndarray) -> np.ndarray:
            return np.take_along_axis(array_NT, order_NT.reshape(order_NT.shape + (1,) * (array_NT.ndim - 2)), axis=1)

        self.history = {name: moved(column) for name, column in self.history.items()}
        self.negative = {name: moved(column) for name, column in self.negative.items()}
        self.hist_label_NT = None if self.hist_label_NT is None else moved(self.hist_label_NT)

    def rows(self, index_B: np.ndarray, T: int, epoch: int) -> Batch:
        """The samples `index_B` as a NumPy batch of T slots, the most recent T of each history; `epoch` is not used."""
        length_B1 = self.length_N[index_B][:, None]
        slot_T = np.arange(T)
        mask_BT = slot_T < length_B1
        slot_BT = (np.maximum(length_B1 - T, 0) + slot_T) * mask_BT

        def cut(array_NT: np.ndarray) -> np.ndarray:
            return gather(
                array_NT.reshape(-1, *array_NT.shape[2:]), index_B[:, None] * array_NT.shape[1] + slot_BT, mask_BT
            )

        history = {name: cut(column) for name, column in self.history.items()}
        return Batch(
            user={name: column[index_B] for name, column in self.user.items()},
            history=history,
            candidate={name: column[index_B] for name, column in self.candidate.items()},
            mask_BT=mask_BT,
            mask_BK=self.mask_NK[index_B],
            label_BK=self.label_NK[index_B],
            negative={name: cut(column) for name, column in self.negative.items()} if self.has_negatives else None,
            hist_label_BT=None if self.hist_label_NT is None else cut(self.hist_label_NT),
            channel_BT=numbers(self.schema)[history[self.schema.type]] if self.schema.channels else None,
        )


def _check_names(schema: Schema, arrays: Mapping[str, np.ndarray], has_negatives: bool) -> None:
    needed = [f"hist_{f.name}" for f in schema.event_fields] + schema.field_names
    negatives = [f"neg_hist_{f.name}" for f in schema.event_fields]
    expected = needed + (negatives if has_negatives else [])
    for name in expected:
        if name not in arrays:
            raise ValueError(f"PaddedArrays: column {name!r} is missing; {nearest(name, arrays)}")
    allowed = {*expected, *negatives, "hist_length", "hist_label"}
    for name in arrays:
        if name not in allowed:
            raise ValueError(f"PaddedArrays: column {name!r} is not in the schema; {nearest(name, allowed)}")


def _history_shape(arrays: Mapping[str, np.ndarray], schema: Schema) -> tuple[int, int]:
    name = f"hist_{schema.item}"
    if arrays[name].ndim != 2 or arrays[name].shape[1] == 0:
        raise ValueError(
            f"PaddedArrays: column {name!r} has shape {arrays[name].shape}; expected [N, T] with T >= 1: "
            "pad each history on the right with 0"
        )
    return arrays[name].shape


def _column(
    arrays: Mapping[str, np.ndarray], name: str, schema: Schema, field: Field, axes: tuple[int, ...]
) -> np.ndarray:
    """The checked array of a field."""
    shape, _ = shaped(field, *axes)
    if isinstance(field, Dense):
        return _numbers(arrays[name], name, shape, field.scale is not None)
    return _ids(arrays, name, shape, schema.table(field.table).size)


def _ids(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...], size: int) -> np.ndarray:
    """int32 ids of the shape; [N] is taken as [N, 1]."""
    array = _shaped(arrays[name], name, shape)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(
            f"PaddedArrays: column {name!r} has dtype {array.dtype}; expected integer ids: fill what is missing with 0 "
            "in histories or 1 (unknown) elsewhere, then convert it with .astype(int)"
        )
    outside = (array < 0) | (array >= size)
    if outside.any():
        at = tuple(map(int, np.argwhere(outside)[0]))
        raise ValueError(
            f"PaddedArrays: column {name!r} holds id {array[at]} at {at}; its table has ids 0 to {size - 1}: "
            "map unknown values to id 1, or declare a larger table"
        )
    return array.astype(np.int32)


def _numbers(array: np.ndarray, name: str, shape: tuple[int, ...], missing: bool = False) -> np.ndarray:
    """Finite float32 numbers of the shape, or NaN where it may be `missing`; [N] is taken as [N, 1]."""
    array = _shaped(array, name, shape)
    try:
        numbers = array.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"PaddedArrays: {name!r}: {error}") from error
    finite = np.isfinite(numbers) | (missing & np.isnan(numbers))
    if not finite.all():
        at = tuple(map(int, np.argwhere(~finite)[0]))
        raise ValueError(f"PaddedArrays: {name!r} holds {numbers[at]} at {at}; expected finite numbers")
    return numbers


def _shaped(array: np.ndarray, name: str, shape: tuple[int, ...]) -> np.ndarray:
    allowed = (shape, (shape[0], *shape[2:])) if shape[1:2] == (1,) else (shape,)
    if array.shape not in allowed:
        raise ValueError(f"PaddedArrays: {name!r} has shape {array.shape}; expected {' or '.join(map(str, allowed))}")
    return array.reshape(shape)


def _lengths(arrays: Mapping[str, np.ndarray], item_NT: np.ndarray) -> np.ndarray:
    """History lengths [N]."""
    if "hist_length" not in arrays:
        return np.count_nonzero(item_NT, axis=1)
    N, T = item_NT.shape
    length_N = _shaped(arrays["hist_length"], "hist_length", (N,))
    if not np.issubdtype(length_N.dtype, np.integer):
        raise TypeError(f"PaddedArrays: column 'hist_length' has dtype {length_N.dtype}; expected integers")
    outside = (length_N < 0) | (length_N > T)
    if outside.any():
        row = int(np.argmax(outside))
        raise ValueError(
            f"PaddedArrays: column 'hist_length' is {length_N[row]} in row {row}, but its history has {T} slots; "
            f"expected 0 to {T}: cut longer ones with np.minimum(hist_length, {T}), or give wider histories"
        )
    return length_N.astype(np.int64)


def _refuse_holes(name: str, item_NT: np.ndarray, length_N: np.ndarray) -> None:
    hole_NT = (np.arange(item_NT.shape[1]) < length_N[:, None]) & (item_NT == 0)
    if hole_NT.any():
        row, slot = map(int, np.argwhere(hole_NT)[0])
        raise ValueError(
            f"PaddedArrays: column {name!r} has id 0, padding, at {(row, slot)} within a history of {length_N[row]}; "
            "expected right padding: move the real behaviours to the front, and use id 1 for unknown ones"
        )
