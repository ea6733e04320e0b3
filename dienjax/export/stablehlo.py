"""Serving functions as StableHLO programs of `jax.export`, for services that run XLA: no model code, B, T and K free.

<name>.stablehlo    a program for CPU, CUDA and TPU, without parameters
parameters.npz      the parameters of them all, by their path in the variables

JAX reads a program that is up to six months older than itself.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from dienjax.batch import Array
from dienjax.errors import nearest
from dienjax.export.graphs import Graph, at_least_one_slot, narrowed
from dienjax.serving.folder import AGAIN, unsealed, verify
from dienjax.storage.files import read_object
from dienjax.training.checkpoint import named_leaves

Program = Callable[[Mapping[str, Array]], dict[str, jax.Array]]
"""Arrays by name -> outputs by name; see `dienjax.export.graphs`."""

PROGRAMS = ("ranker", "user_encoder", "candidate_scorer")
PARAMETERS = "parameters.npz"
PLATFORMS = ("cpu", "cuda", "tpu")


def save_programs(serving: Sequence[Graph], variables: Any, folder: Path) -> None:
    """Write the program of each graph, and the parameters of them all, to the existing `folder`.

    Args:
      serving: graphs with symbolic B, T and K.
      variables: what `model.apply` takes; the tables may be of reduced precision.
    """
    parameters, tree = named_leaves(variables), jax.tree.structure(variables)
    specs = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in parameters.items()}
    np.savez(folder / PARAMETERS, **parameters)
    with _without_source_lines():
        for graph in serving:
            exported = jax.export.export(jax.jit(_by_name(graph, tree)), platforms=PLATFORMS)(specs, graph.inputs)
            _file(folder, graph.name).write_bytes(exported.serialize())


def load_programs(folder: str | Path) -> dict[str, Program]:
    """The ranker, the user encoder and the candidate scorer in `folder`, by name; one copy of the parameters is loaded.

    A program takes arrays by name and compiles once for each shape. B and K are at least 1, T may be 0. Ids are int32
    or int64. It raises ValueError and TypeError for an input that is missing, unknown, misshapen or mistyped.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: a file is damaged, or belongs to another export.
    """
    folder = Path(folder)
    files = {name: _file(folder, name) for name in PROGRAMS}
    _check_files(folder, [*files.values(), folder / PARAMETERS])
    parameters = _read(folder / PARAMETERS, _read_parameters)
    exported = {name: _read(file, _read_program) for name, file in files.items()}
    return {name: _program(files[name], program, parameters) for name, program in exported.items()}


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.stablehlo"


def _by_name(graph: Graph, tree: Any) -> Callable[[dict[str, Array], dict[str, Array]], dict[str, jax.Array]]:
    """The graph as a function of dicts alone, so that the file needs no other type of pytree node."""
    names = named_leaves(jax.tree.unflatten(tree, range(tree.num_leaves)))

    def call(parameters: dict[str, Array], arrays: dict[str, Array]) -> dict[str, jax.Array]:
        return graph.call(jax.tree.unflatten(tree, [parameters[name] for name in names]), arrays)

    return call


@contextmanager
def _without_source_lines() -> Iterator[None]:
    """A block in which programs are traced without the names of the source files on this machine."""
    limit = jax.config.values["jax_traceback_in_locations_limit"]
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        yield
    finally:
        jax.config.update("jax_traceback_in_locations_limit", limit)


def _check_files(folder: Path, files: list[Path]) -> None:
    """Raises unless every file is there and, if the folder has an export.json, as it was written."""
    facts = folder / "export.json"
    digests = _read(facts, lambda file: dict(unsealed(read_object(file))["files"])) if facts.is_file() else {}
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing; expected a folder with {[f.name for f in files]}: {AGAIN}")
        if file.name in digests:
            verify(file, digests[file.name])


def _read(file: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(file)
    except Exception as error:  # flatbuffers, zipfile and NumPy raise errors of every type
        raise ValueError(f"{file} cannot be read ({error!r}): it is damaged, or of another version; {AGAIN}") from error


def _read_parameters(file: Path) -> dict[str, jax.Array]:
    with np.load(file, allow_pickle=False) as arrays:
        return {name: jnp.asarray(arrays[name]) for name in arrays.files}


def _read_program(file: Path) -> jax.export.Exported:
    return jax.export.deserialize(bytearray(file.read_bytes()))


def _program(file: Path, exported: jax.export.Exported, parameters: dict[str, jax.Array]) -> Program:
    (expected, specs), _ = jax.tree.unflatten(exported.in_tree, exported.in_avals)
    here, there = ({name: (x.shape, x.dtype) for name, x in tree.items()} for tree in (expected, parameters))
    if here != there:
        name = min(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
        raise ValueError(
            f"{file} and {PARAMETERS} belong to different exports: the parameter {name!r} is "
            f"{here.get(name, 'absent')} in one and {there.get(name, 'absent')} in the other; {AGAIN}"
        )
    call = jax.jit(exported.call)

    def program(arrays: Mapping[str, Array]) -> dict[str, jax.Array]:
        return call(parameters, _checked(file.stem, arrays, specs))

    return program


def _checked(program: str, arrays: Mapping[str, Array], specs: Mapping[str, Any]) -> dict[str, Array]:
    """The arrays as the program takes them: ids in int32, and an empty slot for a history without any."""
    for name in sorted(arrays.keys() - specs.keys()):
        raise ValueError(f"{program} has no input {name!r}; {nearest(name, specs)}")
    for name in sorted(specs.keys() - arrays.keys()):
        raise ValueError(f"{program}: input {name!r} is missing; expected {sorted(specs)}")
    sizes: dict[str, int] = {}
    return {name: _checked_array(f"{program}: input {name!r}", arrays[name], specs[name], sizes) for name in specs}


def _checked_array(where: str, array: Array, spec: Any, sizes: dict[str, int]) -> Array:
    """One of these arrays; its sizes of B, T and K are noted in `sizes`, or compared with those of earlier inputs."""
    array = array if isinstance(array, jax.Array) else np.asarray(array)
    fits = array.ndim == len(spec.shape) and all(
        size == (dim if isinstance(dim, int) else sizes.setdefault(str(dim), size)) and (size or str(dim) == "T")
        for size, dim in zip(array.shape, spec.shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"{where} has shape {array.shape}; expected ({', '.join(map(str, spec.shape))}), where B, T and K are the "
            "same for all inputs, and only T may be 0"
        )
    if spec.dtype == np.int32 and array.dtype == np.int64:
        array = narrowed(array)
    if array.dtype != spec.dtype:
        ids = " or int64" if spec.dtype == np.int32 else ""
        raise TypeError(f"{where} has dtype {array.dtype}; expected {spec.dtype}{ids}: convert it with .astype")
    return array if array.size else at_least_one_slot(array)
