"""The one contract between data and models: a batch of histories, each with its K candidates."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from flax import struct

from dienjax.schema import Field, Schema, shaped

Array = Any
"""A NumPy array on the host, a JAX array in a step, a ShapeDtypeStruct where only shapes count."""


@struct.dataclass
class Batch:
    """B histories of T slots, right-padded with id 0, each with K candidates.

    Attributes:
      user: ids (int32) and numbers (float32) of the user, by field name, each [B]. Wherever a field is a set of up to M
        ids it has one more axis, as [B, M], with id 0 where it has fewer; a number with a scale may be NaN, missing.
      history: ids and numbers of the past behaviours by field name, each [B, T], oldest first.
      candidate: ids and numbers of the candidates by field name, each [B, K].
      mask_BT: True where a behaviour is real.
      mask_BK: True where a candidate is real; a row that only fills up the last batch has none.
      label_BK: 0/1 clicks, or any number for regression.
      negative: sampled negatives, as the history; slot t is the negative of behaviour t.
      hist_label_BT: 1 where the behaviour was a positive signal, else 0; None counts every behaviour as positive.
      channel_BT: which of the schema's channels a behaviour is of, from 0 on (int8); None without channels.
    """

    user: dict[str, Array]
    history: dict[str, Array]
    candidate: dict[str, Array]
    mask_BT: Array
    mask_BK: Array
    label_BK: Array
    negative: dict[str, Array] | None = None
    hist_label_BT: Array | None = None
    channel_BT: Array | None = None

    def check(self, schema: Schema) -> None:
        """Raise ValueError or TypeError at the first array that is missing, misshapen, mistyped or out of range."""
        for name, axes in (("mask_BT", "(B, T)"), ("mask_BK", "(B, K)")):
            shape = tuple(getattr(self, name).shape)
            if len(shape) != 2:
                raise ValueError(f"Batch.{name} has shape {shape}; expected {axes}")
        B, T = self.mask_BT.shape
        K = self.mask_BK.shape[1]
        expected = _arrays(schema, B, T, K)
        groups = {"user": self.user, "history": self.history, "candidate": self.candidate}
        if self.negative is not None:
            groups["negative"], expected["negative"] = self.negative, expected["history"]
        sizes, scaled = schema.sizes(), {f.name for f in schema.dense if f.scale}
        for group, arrays in groups.items():
            for name in sorted(expected[group].keys() ^ arrays.keys()):
                state = "is missing" if name in expected[group] else "is not in the schema"
                raise ValueError(f"Batch.{group}[{name!r}] {state}; expected {sorted(expected[group])}")
            for name, (shape, dtype) in expected[group].items():
                _check_array(f"Batch.{group}[{name!r}]", arrays[name], shape, dtype, sizes.get(name), name in scaled)
        _check_array("Batch.mask_BT", self.mask_BT, (B, T), np.bool_)
        _check_array("Batch.mask_BK", self.mask_BK, (B, K), np.bool_)
        _check_array("Batch.label_BK", self.label_BK, (B, K), np.float32)
        if self.hist_label_BT is not None:
            _check_array("Batch.hist_label_BT", self.hist_label_BT, (B, T), np.float32)
        self._check_channels(schema)
        mask_BT = np.asarray(self.mask_BT)
        if (mask_BT[:, 1:] > mask_BT[:, :-1]).any():
            raise ValueError(
                "Batch.mask_BT has a real behaviour after a padded one; expected right padding: "
                "move the real behaviours to the front of their row, oldest first"
            )

    def _check_channels(self, schema: Schema) -> None:
        C = len(schema.channels)
        if (self.channel_BT is None) != (C == 0):
            state = "is missing" if C else "is there"
            raise ValueError(f"Batch.channel_BT {state}, and the schema has {C} channels; expected both or neither")
        if self.channel_BT is None:
            return
        _check_array("Batch.channel_BT", self.channel_BT, self.mask_BT.shape, np.int8)
        channel_BT, mask_BT = np.asarray(self.channel_BT), np.asarray(self.mask_BT)
        if (mask_BT & ((channel_BT < 0) | (channel_BT >= C))).any():
            raise ValueError(f"Batch.channel_BT holds another number than 0 to {C - 1} for a real behaviour")
        for number, channel in enumerate(schema.channels):
            count_B = (mask_BT & (channel_BT == number)).sum(axis=1)
            if (count_B > channel.most).any():
                row = int(np.argmax(count_B))
                raise ValueError(
                    f"Batch.channel_BT has {count_B[row]} behaviours of channel {channel.name!r} in row {row}; "
                    f"expected at most its {channel.most}: keep the most recent"
                )

    @staticmethod
    def abstract(schema: Schema, B: Any, T: Any, K: Any, negatives: bool = False) -> "Batch":
        """The batch's shapes and dtypes without data; B, T and K may be symbolic dimensions."""
        struct_of = jax.ShapeDtypeStruct
        groups = {
            group: {name: struct_of(shape, dtype) for name, (shape, dtype) in arrays.items()}
            for group, arrays in _arrays(schema, B, T, K).items()
        }
        return Batch(
            **groups,
            mask_BT=struct_of((B, T), np.bool_),
            mask_BK=struct_of((B, K), np.bool_),
            label_BK=struct_of((B, K), np.float32),
            negative=dict(groups["history"]) if negatives else None,
            channel_BT=struct_of((B, T), np.int8) if schema.channels else None,
        )


def _arrays(schema: Schema, B: Any, T: Any, K: Any) -> dict[str, dict[str, tuple[tuple, type]]]:
    """Shape and dtype of every array by group and field name."""

    def arrays(fields: Iterable[Field], *axes: Any) -> dict[str, tuple[tuple, type]]:
        return {f.name: shaped(f, *axes) for f in fields}

    return {
        "user": arrays(schema.side("user"), B),
        "history": arrays(schema.event_fields, B, T),
        "candidate": arrays((*schema.event_fields, *schema.side("candidate")), B, K),
    }


def _check_array(
    where: str, array: Array, shape: tuple, dtype: type, size: int | None = None, missing: bool = False
) -> None:
    if tuple(array.shape) != shape:
        raise ValueError(f"{where} has shape {tuple(array.shape)}; expected {shape}")
    if array.dtype != dtype:
        raise TypeError(f"{where} has dtype {array.dtype}; expected {np.dtype(dtype).name}: convert it with .astype")
    if array.size == 0:
        return
    host = np.asarray(array)
    if size is not None and (host.min() < 0 or host.max() >= size):
        bad = np.argwhere((host < 0) | (host >= size))[0]
        raise ValueError(
            f"{where} holds id {host[tuple(bad)]} at {tuple(map(int, bad))}; its table has ids 0 to {size - 1}: "
            "map unknown values to id 1, or declare a larger table"
        )
    if np.issubdtype(host.dtype, np.floating) and not (finite := np.isfinite(host) | (missing & np.isnan(host))).all():
        bad = np.argwhere(~finite)[0]
        raise ValueError(f"{where} holds {host[tuple(bad)]} at {tuple(map(int, bad))}; expected finite numbers")
