"""Files of weights: .safetensors, .npz, and a state_dict written by torch.save; only tensors are unpickled."""

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
"""Bytes that any archive may unpack to, in addition to 20 times its own size: weights hardly compress."""


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a file by their keys, as numpy arrays.

    Raises:
      FileNotFoundError: there is no such file.
      ImportError: the package that reads this kind of file is not installed.
      ValueError: a file of another kind, a damaged one, or one that holds more than tensors.
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
    """Raises ValueError for an archive that would unpack to more than weights can, without unpacking it."""
    with ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    most = MOST_UNPACKED + 20 * path.stat().st_size
    if unpacked > most:
        raise ValueError(f"it unpacks to {unpacked:,} bytes, expected at most {most:,} for a file of this size")


def write_weights(path: str | Path, tensors: Mapping[str, np.ndarray], force: bool = False) -> None:
    """Write the tensors to `path`, in the format that its suffix names.

    Raises:
      FileExistsError: the file exists, and `force` is False.
      ImportError: the package that writes this format is not installed.
      ValueError: an unknown suffix.
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
