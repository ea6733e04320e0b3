"""Columns of a sorted log in files: written and read block by block, so that memory does not grow with them."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BLOCK = 1 << 20


@dataclass(frozen=True)
class OnDisk:
    """A column [length] in a file without a header. A slice of it is read into memory.

    A memory map would count its pages as the process's own for as long as there is memory.
    """

    path: Path
    dtype: np.dtype
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(self.length)
        return np.fromfile(self.path, self.dtype, max(stop - start, 0), offset=start * self.dtype.itemsize)


def blocks(column: np.ndarray | OnDisk) -> Iterator[np.ndarray]:
    """A column, part after part."""
    for start in range(0, len(column), BLOCK):
        yield column[start : start + BLOCK]


def mapped(column: np.ndarray | OnDisk) -> np.ndarray:
    """A column for reading here and there: memory-mapped if it is in a file."""
    if isinstance(column, np.ndarray) or not len(column):
        return column[:]
    return np.memmap(column.path, column.dtype, mode="r").view(np.ndarray)


def write_columns(paths: Sequence[Path], parts: Iterable[Sequence[np.ndarray]]) -> list[OnDisk]:
    """Write columns to a file each; `parts` has some rows of all of them at a time, at least once.

    They are not written through a memory map: on a full disk a signal would kill the process, without an error.
    """
    length = 0
    with ExitStack() as stack:
        files = [stack.enter_context(open(path, "wb")) for path in paths]
        for columns in parts:
            for file, column in zip(files, columns, strict=True):
                file.write(np.ascontiguousarray(column).data)
            length += len(columns[0])
    return [OnDisk(path, column.dtype, length) for path, column in zip(paths, columns, strict=True)]
