"""Arrays in files of their own, memory-mapped on reading; a damaged file is refused, whatever its header claims."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

AGAIN = "prepare the log again"


def save_array(record: Callable[..., None], file: Path, array: np.ndarray, dtype: type | None = None) -> None:
    """Write an array as `np.save` does; the manifest gets its hash."""
    file.parent.mkdir(parents=True, exist_ok=True)
    array, header = np.ascontiguousarray(array, dtype), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    record(file, header.getvalue(), array)
    with open(file, "wb") as out:
        out.write(header.getvalue())
        out.write(array.data)


def load_array(file: Path, length: int | None, *dtypes: type) -> np.ndarray:
    """The memory-mapped array [length] of a file, of one of the dtypes.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged, or holds another dtype or length.
    """
    if not file.is_file():
        raise FileNotFoundError(f"Store.open: {str(file)!r} is missing, the store is incomplete: {AGAIN}")
    try:
        array = np.lib.format.open_memmap(file, mode="r")
    except Exception as error:  # NumPy raises errors of every type for the header of a damaged file
        raise ValueError(f"Store.open: {str(file)!r} cannot be read ({error}): {AGAIN}") from error
    if array.dtype not in dtypes or array.ndim != 1 or array.offset + array.nbytes != file.stat().st_size:
        raise ValueError(
            f"Store.open: {str(file)!r} holds {array.dtype.str} in the shape {array.shape}; expected "
            f"{' or '.join(np.dtype(d).str for d in dtypes)} in one dimension that fills the file: {AGAIN}"
        )
    if length is not None and len(array) != length:
        raise ValueError(f"Store.open: {str(file)!r} has {len(array)} rows; expected {length}: {AGAIN}")
    # A plain view of the mapped pages: indexing np.memmap itself costs a wrapper per call.
    return array.view(np.ndarray)
