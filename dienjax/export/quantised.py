"""Embedding tables that take less memory than float32; `dienjax.models.embedding.look_up` reads them all."""

from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from dienjax.models.embedding import ScaledRows

Precision = Literal["float32", "float16", "int8"]
"""float32: the tables as they are. float16: half the bytes. int8: a quarter, and four bytes more for each row."""


def reduced_tables(tables: Mapping[str, jax.Array], precision: Precision) -> dict[str, jax.Array | ScaledRows]:
    """The tables at a precision, by name.

    A number becomes the nearest float16, or the nearest multiple of its row's scale, which is max|row| / 127.

    Args:
      tables: float32 [V, D] by table name.

    Raises:
      ValueError: a number is not finite, or is too large for float16. "float32" checks nothing.
    """
    if precision == "float32":
        return dict(tables)
    reduce = _float16 if precision == "float16" else _scaled
    return {name: reduce(name, np.asarray(table_VD)) for name, table_VD in tables.items()}


def _float16(name: str, table_VD: np.ndarray) -> jax.Array:
    largest_V = _largest(name, table_VD)
    with np.errstate(over="ignore"):
        fits_V = np.isfinite(largest_V.astype(np.float16))
    if not fits_V.all():
        row = np.argmin(fits_V)
        raise ValueError(
            f"table {name!r} has {largest_V[row]:g} in row {row}; float16 ends at 65504: choose float32 or int8"
        )
    return jnp.asarray(table_VD.astype(np.float16))


def _scaled(name: str, table_VD: np.ndarray) -> ScaledRows:
    scale_V = _largest(name, table_VD) / np.float32(127)
    scale_V[scale_V < np.finfo(np.float32).tiny] = 0  # rows of zeros, or of numbers that XLA takes for zero
    scaled_VD = table_VD / np.where(scale_V, scale_V, np.inf)[:, None]
    return ScaledRows(jnp.asarray(np.rint(scaled_VD, out=scaled_VD).astype(np.int8)), jnp.asarray(scale_V))


def _largest(name: str, table_VD: np.ndarray) -> np.ndarray:
    """max|row| of each row, [V]; np.abs would copy the table."""
    largest_V = np.maximum(table_VD.max(axis=1), -table_VD.min(axis=1))
    if not np.isfinite(largest_V).all():
        row = np.argmin(np.isfinite(largest_V))
        bad = table_VD[row][~np.isfinite(table_VD[row])][0]
        raise ValueError(f"table {name!r} has {bad} in row {row}; expected finite numbers: export another checkpoint")
    return largest_V
