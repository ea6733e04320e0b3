"""Checkpoints of a run: the training state (Orbax) and the loop position, complete or absent.

A run folder holds `checkpoints/last/<step>` (the newest two) and `checkpoints/best/<step>` (one). Each step folder
has the arrays in `state`, their dtypes and shapes in `leaves.json`, the loop position in `position.json`, and the
SHA-256 of every file in `manifest.json`: Orbax alone restores wrong numbers from a file with a flipped byte. The folder
is written under a temporary name and renamed when it is complete. Orbax's own CheckpointManager could not put the
manifest inside that rename, and skips a step below the newest one, which a run that fell back must save.
"""

import errno
import json
import logging
import os
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dienjax.storage import leftovers
from dienjax.storage.files import write_json
from dienjax.storage.folders import Purpose, new_folder
from dienjax.storage.manifest import damage, manifest_of, read_manifest
from dienjax.training import processes
from dienjax.training.layout import Layout

Kind = Literal["last", "best"]

PURPOSE = Purpose("a checkpoint", lambda path: True)
"""A step of this run, whole or damaged, gives way to the same step saved again."""

KEEP: dict[str, int] = {"last": 2, "best": 1}
"""How many checkpoints of each kind stay; older ones go only after the newer one is complete."""


def save(run: str | Path, kind: Kind, state: Any, position: dict[str, Any], layout: Layout | None = None) -> Path:
    """Save `state` and `position` as a checkpoint; return its folder, complete on disk.

    Steps above the one saved belong to an abandoned past (a damaged or overruled checkpoint): they are removed.

    Args:
      run: the run folder.
      kind: "last" or "best".
      state: a pytree of non-empty arrays with a `step` leaf, which names the checkpoint.
      position: where the loop stands, as JSON: no NaN, no arrays.
      layout: where the arrays live; all of its processes call this together, and process 0 writes what Orbax does not.

    Raises:
      TypeError: a leaf that is not an array.
      ValueError: NaN in `position`, or an array without elements.
      OSError: the disk is full; the earlier checkpoints stay whole.
    """
    folder = _folder(run, kind)
    leaves = named_leaves(state)
    for name, leaf in leaves.items():
        if not isinstance(leaf, (jax.Array, np.ndarray)):
            raise TypeError(f"checkpoint.save: state leaf {name!r} is a {type(leaf).__name__}; expected an array")
        if leaf.size == 0:
            raise ValueError(f"checkpoint.save: state leaf {name!r} has shape {leaf.shape}; expected some elements")
    step = int(state.step)
    with (
        _full_disk(run, folder, step),
        processes.one_folder(lambda: _whole_folder(folder / str(step), state, position, layout)) as temporary,
        _orbax() as (checkpointer, args),
    ):
        checkpointer.save(temporary / "state", args=args.StandardSave(state))
    if processes.writes():
        _prune(folder, step, KEEP[kind])
    return folder / str(step)


def restore(
    run: str | Path, kind: Kind, abstract_state: Any, layout: Layout | None = None
) -> tuple[Any, dict[str, Any]]:
    """The state and the position of the newest whole checkpoint; a damaged one is skipped with a warning.

    Args:
      run: the run folder.
      kind: "last" or "best".
      abstract_state: a pytree of the state's structure (arrays, or `jax.eval_shape` of what makes them). A leaf goes
        where its `sharding` says, on whatever devices it was saved; without one, to the default device.
      layout: where the arrays shall live instead.

    Raises:
      FileNotFoundError: there is no whole checkpoint.
      ValueError: the checkpoint holds other leaves, shapes or dtypes than `abstract_state`.
    """
    folder = _folder(run, kind)
    damaged: dict[Path, str] = {}
    for step in reversed(steps(run, kind)):
        path = folder / str(step)
        why = _damage(path)
        if not why:
            break
        damaged[path] = why
    else:
        found = "; ".join(f"{path} is damaged: {why}" for path, why in damaged.items()) or "there is none"
        raise FileNotFoundError(
            f"no whole {kind!r} checkpoint in {folder}: {found}. Check the folder's name, or train from the start"
        )
    for bad, why in damaged.items():
        warnings.warn(f"checkpoint {bad} is damaged ({why}); using {path} instead", stacklevel=2)
    _check_fit(path, abstract_state)
    if layout is not None:
        target = layout.stored(abstract_state)
    else:
        default = jnp.zeros(()).sharding
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=getattr(x, "sharding", None) or default),
            abstract_state,
        )
    with _orbax() as (checkpointer, args):
        # Not strict: the shapes have been compared above, and tables that were spread have more rows, of zeros.
        state = checkpointer.restore(path / "state", args=args.StandardRestore(target, strict=False))
    return state, _read_json(path / "position.json")


@contextmanager
def _whole_folder(path: Path, state: Any, position: dict[str, Any], layout: Layout | None) -> Iterator[Path]:
    """A temporary folder that becomes `path` once the arrays are in it, with what is written beside them."""
    with new_folder(path, force=True, purpose=PURPOSE) as temporary, manifest_of(temporary):
        yield temporary
        write_json(temporary / "leaves.json", _described(state, layout))
        write_json(temporary / "position.json", position)


def steps(run: str | Path, kind: Kind) -> list[int]:
    """The steps of the checkpoints of one kind, ascending, damaged ones included; empty if there are none."""
    folder = _folder(run, kind)
    return sorted(int(p.name) for p in folder.iterdir() if _is_step(p)) if folder.is_dir() else []


def _folder(run: str | Path, kind: str) -> Path:
    if kind not in KEEP:
        raise ValueError(f"checkpoint: kind is {kind!r}; expected one of {sorted(KEEP)}")
    return Path(run).absolute() / "checkpoints" / kind


def _is_step(path: Path) -> bool:
    return path.is_dir() and path.name.isascii() and path.name.isdigit()


def _prune(folder: Path, newest: int, keep: int) -> None:
    """Removes all but the `keep` newest steps up to `newest`, and what a killed process left behind."""
    kept = sorted(int(p.name) for p in folder.iterdir() if _is_step(p) and int(p.name) <= newest)[-keep:]
    for path in folder.iterdir():
        if _is_step(path) and int(path.name) not in kept:
            leftovers.remove(path)
    leftovers.clear(folder)


def _damage(path: Path) -> str:
    """What is wrong with a checkpoint folder, compared with its manifest; empty if it is whole."""
    try:
        manifest = read_manifest(path)
    except FileNotFoundError:
        return "manifest.json is missing"
    except (ValueError, OSError) as error:
        return f"manifest.json cannot be read: {error}"
    for name in ("leaves.json", "position.json"):
        if name not in manifest:
            return f"manifest.json does not list {name}"
    return damage(path, manifest)


def _check_fit(path: Path, abstract_state: Any) -> None:
    there = _read_json(path / "leaves.json")
    here = _described(abstract_state, None)
    lines = [
        f"  {name}: {there.get(name, 'absent')} in the checkpoint, {here.get(name, 'absent')} in the model"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    ]
    if lines:
        more = [f"  and {len(lines) - 8} more"] if len(lines) > 8 else []
        raise ValueError(
            f"checkpoint {path} does not fit the model:\n" + "\n".join(lines[:8] + more) + "\n"
            "Use the schema, model and optimizer of the run's own config, or train in another run folder"
        )


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by their path, such as "params/embedder/item"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _described(tree: Any, layout: Layout | None) -> dict[str, str]:
    """Dtype and shape of each leaf by its path, such as "float32[300,18]"."""

    def describe(path: Any, leaf: Any) -> str:
        shape = leaf.shape if layout is None else layout.shape(path, leaf)
        return f"{leaf.dtype}[{','.join(map(str, shape))}]"

    return named_leaves(jax.tree.map_with_path(describe, tree))


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def _full_disk(run: str | Path, folder: Path, step: int) -> Iterator[None]:
    """Raises OSError with one clear sentence for a full disk, also if Orbax reports it in its storage's words."""
    try:
        yield
    except (OSError, ValueError) as error:
        storage = re.search(r"os_error_code='(\d+)'", str(error))
        code = int(storage[1]) if storage else getattr(error, "errno", None)
        if code not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        for _ in range(4):  # threads of Orbax still write, also into what was removed
            time.sleep(0.1)
            leftovers.clear(folder)
        before = steps(run, "last")
        whole = f"that of step {before[-1]} is whole: " if before else ""
        why = f"{os.strerror(code).lower()}; {whole}free space, and go on with --resume"
        raise OSError(f"checkpoint of step {step} in {run}: {why}") from error


@contextmanager
def _orbax() -> Iterator[tuple[Any, Any]]:
    """A blocking Orbax checkpointer and its `args` module, without absl's log: failures are raised anyway."""
    logger = logging.getLogger("absl")
    import orbax.checkpoint as ocp  # not at the top: the import takes a quarter of a second

    level = logger.level
    logger.setLevel(logging.CRITICAL)
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        yield checkpointer, ocp.args
    logger.setLevel(level)  # not after a failure, which Orbax's threads may log later than it is raised
