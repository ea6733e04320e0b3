"""The run folder: what a training run leaves behind, and how a trained model is taken from it.

config.toml     the resolved configuration        checkpoints/last, checkpoints/best
schema.json     the tables and fields             metrics.jsonl    one line per measurement
vocab/          raw value → id, one Parquet per table             curves.png
manifest.json   the SHA-256 of schema.json and of each file in vocab/: what gives ids their meaning
store.json      the store that the run was trained on, and where that stood
versions.json   the versions of dienjax, of what it computes with and of Python when the folder was made
data.json       counts and fingerprints that a resumed run compares
.lock           the process that trains in it, or did last
init.json       the run whose weights it started from, if any, and the embedding rows taken from it
import.json     where its weights were imported from, if they were
"""

import platform
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import optax
import pandas as pd
from flax import linen as nn

from dienjax.batch import Batch
from dienjax.data.store import Store
from dienjax.data.values import read_values
from dienjax.schema import Schema
from dienjax.storage.files import is_sealed, read_object, sha256, write_json
from dienjax.storage.folders import Purpose, new_folder
from dienjax.storage.manifest import FILE as MANIFEST
from dienjax.storage.manifest import manifest_of, read_manifest
from dienjax.training import checkpoint
from dienjax.training.config import Config
from dienjax.training.host_tables import init_host_state, on_host
from dienjax.training.layout import Layout
from dienjax.training.optimizers import make_optimizer
from dienjax.training.step import TrainState, init_state


@dataclass(frozen=True)
class Run:
    """A run folder: its configuration, its schema (with the embedding dims it was trained with), its checkpoints."""

    path: Path
    config: Config
    schema: Schema

    @classmethod
    def create(
        cls,
        path: str | Path,
        config: Config,
        schema: Schema,
        store: Store | None = None,
        force: bool = False,
        complete: Callable[["Run"], None] | None = None,
    ) -> "Run":
        """A new run folder, whole or not at all; it keeps the vocabularies of the store, if there is one.

        Args:
          complete: writes what else the folder must hold from the start; gets the run while its path is temporary.

        Raises:
          FileExistsError: the folder exists and `force` is False, or it is not a run, or holds the store.
        """
        model = config.model.build(schema)
        with new_folder(path, force, PURPOSE, [store.path] if store else []) as folder:
            with manifest_of(folder):
                write_json(folder / "schema.json", model.schema.to_json())
                if store is not None:
                    (folder / "vocab").mkdir()
                    for table in (table for table in schema.tables if table.has_vocabulary):
                        values = store.vocabulary(table.name)
                        values.to_parquet(folder / "vocab" / f"{table.name}.parquet", index=False)
            # Not in the manifest: a resumed run may get more epochs, people mend the path of a store that moved, and
            # nothing is computed from the versions.
            config.save(folder / "config.toml")
            write_json(folder / "versions.json", versions())
            if store is not None:
                write_json(folder / "store.json", {"path": str(store.path.absolute()), **store.info})
            if complete is not None:
                complete(cls(folder, config, model.schema))
        return cls(Path(path), config, model.schema)

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """The run in a folder.

        Raises:
          FileNotFoundError: it is not a run folder.
          ValueError: its config or its schema is damaged.
        """
        path = Path(path)
        for name in ("config.toml", "schema.json"):
            if not (path / name).is_file():
                raise FileNotFoundError(f"{path} is not a run folder: it has no {name}; expected what training wrote")
        config = Config.load(path / "config.toml")
        schema = Schema.from_json(read_object(path / "schema.json"))
        digests = _digests(path)
        if digests is not None and sha256(path / "schema.json") != digests.get("schema.json"):
            raise ValueError(f"{path / 'schema.json'} is not what training wrote: it is damaged, train again")
        if digests is not None and not is_sealed(path / "config.toml"):
            raise ValueError(
                f"{path / 'config.toml'} is not what training wrote, by its last line; restore it, or train with the "
                "other settings in another folder"
            )
        return cls(path, config, schema)

    @cached_property
    def model(self) -> nn.Module:
        return self.config.model.build(self.schema)

    @property
    def max_len(self) -> int:
        """The most events of a history that the model reads."""
        return self.schema.longest(self.config.data.max_len)

    def check_schema(self, schema: Schema, whose: str) -> None:
        """Refuse a schema whose ids do not mean what they meant in training.

        Raises:
          ValueError: how it differs.
        """
        difference = schema.difference(self.schema)
        if difference:
            raise ValueError(
                f"{whose} does not fit the run {self.path}; - is there, + is in the run:\n{difference}\n"
                "Use the data set of the run (or one prepared with its vocabularies), or train anew"
            )

    def optimizer(self, steps_per_epoch: int = 1) -> optax.GradientTransformation:
        return make_optimizer(self.config.optimizer, steps_per_epoch, self.config.fit.epochs)

    def layout(self) -> Layout:
        """Where the arrays of the trained model live: on one device, unless its tables are spread over several."""
        devices, batch_size = self.config.devices, self.config.data.batch_size
        if devices.tables == "replicated":
            return Layout(self.schema)
        if devices.tables == "host":
            return Layout.of(replace(devices, count=1), self.schema, batch_size)
        most = max(n for n in range(1, jax.device_count() + 1) if batch_size % n == 0)
        return Layout.of(replace(devices, count=most), self.schema, batch_size)

    def initial_state(self, tx: optax.GradientTransformation, layout: Layout | None = None) -> TrainState:
        """The state before the first step, from the config's seed."""
        batch = Batch.abstract(self.schema, 1, 2, 1, negatives=self.config.auxiliary)
        key = jax.random.key(self.config.fit.seed)
        if layout is not None and layout.hosted:
            return init_host_state(self.model, tx, batch, key, layout)
        return init_state(self.model, tx, batch, key, layout)

    def restore(
        self, kind: checkpoint.Kind, tx: optax.GradientTransformation, layout: Layout | None = None
    ) -> tuple[TrainState, dict[str, Any]]:
        """The newest whole checkpoint of a kind, and the loop's position in it."""
        state, position = checkpoint.restore(self.path, kind, jax.eval_shape(lambda: self.initial_state(tx)), layout)
        return (on_host(state, layout) if layout is not None and layout.hosted else state), position

    @property
    def chosen(self) -> checkpoint.Kind:
        """Which checkpoint is the trained model: the best, or the last where none was chosen."""
        return "best" if checkpoint.steps(self.path, "best") else "last"

    def variables(self, layout: Layout | None = None) -> dict[str, Any]:
        """The trained variables for `model.apply`: of the chosen checkpoint."""
        return self.restore(self.chosen, self.optimizer(), layout)[0].variables

    def store(self) -> Store:
        """The event store that the run was trained on.

        Raises:
          FileNotFoundError: it has moved, or the run was trained on ready-made arrays.
        """
        file = self.path / "store.json"
        if not file.is_file():
            raise FileNotFoundError(f"{self.path} was trained on ready-made arrays, not on a store; name a store")
        path = Path(str(read_object(file).get("path")))
        if not path.exists():
            raise FileNotFoundError(f"the store of {self.path} is no longer at {path}; name it with --store")
        return Store.open(path)

    @property
    def has_vocabulary(self) -> bool:
        """False where the run was trained on ready-made ids."""
        return (self.path / "vocab").is_dir()

    def vocabulary(self, table: str) -> pd.DataFrame:
        """The (id, value, count) of a table, from id 2 on."""
        return read_values(self.path, f"vocab/{table}.parquet", _digests(self.path))


def is_run(path: Path) -> bool:
    """Whether a folder is a run."""
    try:
        config = tomllib.loads((path / "config.toml").read_text(encoding="utf-8"))
        return "model" in config and "behaviours" in read_object(path / "schema.json")
    except (OSError, ValueError, RecursionError):
        return False


PURPOSE = Purpose("a run folder", is_run)


def versions() -> dict[str, str | None]:
    """The versions of Python and of the packages that a run depends on; None for one that is not installed by pip."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in ("dienjax", "jax", "flax", "optax", "orbax-checkpoint", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _digests(path: Path) -> dict[str, str] | None:
    """What the manifest of a run says; None for a run of before there was one."""
    return read_manifest(path) if (path / MANIFEST).is_file() else None
