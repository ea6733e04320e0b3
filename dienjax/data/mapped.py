"""Columns in files of their own, written in blocks, memory-mapped on reading; a damaged file is refused."""

import io
import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

AGAIN = "prepare the log again"
BLOCK = 1 << 20


@dataclass(frozen=True)
class Blocks:
    """A column that is computed block by block, so that it is never in memory as a whole; it can be iterated again.

    Attributes:
      width: how many values a row has side by side; 0 for one that has no axis for them.
    """

    length: int
    dtype: np.dtype
    blocks: Callable[[], Iterator[np.ndarray]]
    width: int = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[np.ndarray]:
        return self.blocks()

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length, self.width) if self.width else (self.length,)


Column: TypeAlias = np.ndarray | Blocks


def save_array(record: Callable[[Path], Callable[[Any], None]], file: Path, column: Column) -> None:
    """Write a column as `np.save` does; the manifest gets its hash.

    Raises:
      RuntimeError: blocks that do not add up to the column's length.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    dtype, add, header, written = np.dtype(column.dtype), record(file), io.BytesIO(), 0
    shape = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": column.shape}
    np.lib.format.write_array_header_1_0(header, shape)
    with open(file, "wb") as out:
        out.write(header.getvalue())
        add(header.getvalue())
        for block in [column] if isinstance(column, np.ndarray) else column:
            block = np.ascontiguousarray(block, dtype)
            add(block)
            out.write(block.data)
            written += len(block)
    if written != len(column):
        raise RuntimeError(f"{file.name} has {written} rows; expected {len(column)}")


def load_array(file: Path, length: int | None, *dtypes: type, width: int = 0) -> np.ndarray:
    """The memory-mapped array [length], or [length, width], of a file, of one of the dtypes.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged, or holds another dtype, length or width.
    """
    if not file.is_file():
        raise FileNotFoundError(f"Store.open: {str(file)!r} is missing, the store is incomplete: {AGAIN}")
    try:
        array = np.lib.format.open_memmap(file, mode="r")
    except Exception as error:  # NumPy raises errors of every type for the header of a damaged file
        raise ValueError(f"Store.open: {str(file)!r} cannot be read ({error}): {AGAIN}") from error
    row = (width,) if width else ()
    fits = array.ndim == 1 + len(row) and array.shape[1:] == row and array.flags.c_contiguous
    if array.dtype not in dtypes or not fits or array.offset + array.nbytes != file.stat().st_size:
        dimensions = f"rows of {width}" if width else "one dimension"
        raise ValueError(
            f"Store.open: {str(file)!r} holds {array.dtype.str} in the shape {array.shape}; expected "
            f"{' or '.join(np.dtype(d).str for d in dtypes)} in {dimensions} that fills the file: {AGAIN}"
        )
    if length is not None and len(array) != length:
        raise ValueError(f"Store.open: {str(file)!r} has {len(array)} rows; expected {length}: {AGAIN}")
    # A plain view of the mapped pages: indexing np.memmap itself costs a wrapper per call.
    return array.view(np.ndarray)


def in_blocks(column: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Parts of a column, each with its first row; what was mapped for one is released before the next."""
    for start in range(0, len(column), BLOCK):
        yield start, column[start : start + BLOCK]
        release(column)


def release(*columns: np.ndarray) -> None:
    """Let go of the pages of memory-mapped columns that were read: they count as memory of the process until then."""
    for column in columns:
        base: Any = column
        while base is not None and not isinstance(base, np.memmap):
            base = getattr(base, "base", None)
        if base is not None and hasattr(mmap, "MADV_DONTNEED"):
            base._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
