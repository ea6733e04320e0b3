"""Files of weights: .safetensors, .npz, and what torch.save wrote of a state_dict; nothing else is unpickled."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import ZipFile, is_zipfile

import numpy as np

from dienjax.interop.match import to_numpy
from dienjax.storage.files import new_file

TORCH = (".pt", ".pth", ".bin")
KINDS = (".safetensors", ".npz", *TORCH)
MOST_UNPACKED = 2**30
"""Bytes that any archive may unpack to; larger ones in proportion to their size: weights hardly compress."""


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a file by their keys, as numpy arrays.

    Raises:
      ImportError: what reads this kind of file is not installed.
      ValueError: another kind of file, a damaged one, or one that does not hold tensors alone.
    """
    path = Path(path)
    kind = _kind(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {str(path)!r}; expected one of weights, such as a saved state_dict")
    read = {".npz": _read_npz, ".safetensors": _read_safetensors}.get(kind, _read_torch)
    try:
        held = read(path)
    except ImportError:
        raise
    except UnpicklingError as error:
        raise ValueError(f"{path} is damaged, or holds more than tensors, such as a whole model; {_SAVE}") from error
    except Exception as error:  # damaged bytes make these libraries raise errors of dozens of types
        pickled = "allow_pickle" in str(error)  # numpy's words are how to read them all the same
        why = "it holds pickled objects" if pickled else str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path} cannot be read as {kind}: {why}; it is damaged or of another kind") from error
    if not isinstance(held, Mapping) or not all(map(_is_tensor, held.values())):
        what = f"the keys {list(held)[:8]}" if isinstance(held, Mapping) else f"a {type(held).__name__}"
        raise ValueError(f"{path} holds {what}; expected tensors of numbers by name: {_SAVE}")
    return {str(key): to_numpy(value) if hasattr(value, "detach") else value for key, value in held.items()}


def _read_npz(path: Path) -> Any:
    _refuse_bomb(path)
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _read_safetensors(path: Path) -> Any:
    return _library("safetensors.numpy", "dienjax[interop]").load_file(path)


def _read_torch(path: Path) -> Any:
    torch = _library("torch", "torch")
    if is_zipfile(path):
        _refuse_bomb(path)
    return torch.load(path, weights_only=True, map_location="cpu")


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "detach") or (isinstance(value, np.ndarray) and value.dtype.kind in "fiub")


def _refuse_bomb(path: Path) -> None:
    """Raises ValueError for an archive of arrays beyond any that its size can hold; nothing is unpacked for it."""
    with ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    most = MOST_UNPACKED + 20 * path.stat().st_size
    if unpacked > most:
        raise ValueError(f"it unpacks to {unpacked:,} bytes, expected at most {most:,} of a file of this size")


def write_weights(path: str | Path, tensors: Mapping[str, np.ndarray], force: bool = False) -> None:
    """Nothing; `path` then holds the tensors, in the kind that its ending names.

    Raises:
      FileExistsError: the file exists, and `force` is False.
    """
    path = Path(path)
    kind = _kind(path)
    if path.exists() and not force:
        raise FileExistsError(f"{path} already exists; choose another name, or use --force to replace it")
    with new_file(path) as temporary:
        if kind == ".safetensors":
            _library("safetensors.numpy", "dienjax[interop]").save_file(dict(tensors), temporary)
        elif kind == ".npz":
            arrays: dict[str, Any] = dict(tensors)
            with open(temporary, "wb") as file:
                np.savez(file, **arrays)
        else:
            torch = _library("torch", "torch")
            torch.save({key: torch.from_numpy(array) for key, array in tensors.items()}, temporary)


_SAVE = "save a state_dict: torch.save(model.state_dict(), path)"


def _kind(path: Path) -> str:
    if path.suffix not in KINDS:
        raise ValueError(f"{path}: expected a file of weights that ends in {', '.join(KINDS)}")
    return path.suffix


def _library(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"{module} is not installed: pip install '{package}'; .npz needs nothing") from error
