"""Files of weights: .safetensors, .npz, and what torch.save wrote of a state_dict; nothing else is unpickled."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from dienjax.files import new_file
from dienjax.interop.match import to_numpy

TORCH = (".pt", ".pth", ".bin")
KINDS = (".safetensors", ".npz", *TORCH)


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a file by their keys, as numpy arrays.

    Raises:
      ImportError: what reads this kind of file is not installed.
      ValueError: another kind of file, or one that does not hold tensors alone.
    """
    path = Path(path)
    kind = _kind(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {str(path)!r}; expected one of weights, such as a saved state_dict")
    if kind == ".safetensors":
        return _library("safetensors.numpy", "dienjax[interop]").load_file(path)
    if kind == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    torch = _library("torch", "torch")
    try:
        held = torch.load(path, weights_only=True, map_location="cpu")
    except UnpicklingError as error:
        raise ValueError(f"{path} holds more than tensors, such as a whole model; {_SAVE}") from error
    if not isinstance(held, Mapping) or not all(hasattr(value, "detach") for value in held.values()):
        what = f"the keys {list(held)[:8]}" if isinstance(held, Mapping) else f"a {type(held).__name__}"
        raise ValueError(f"{path} holds {what}; expected tensors by name: {_SAVE}")
    return {key: to_numpy(value) for key, value in held.items()}


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
