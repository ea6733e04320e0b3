"""The run folder: what a training run leaves behind, and how a trained model is taken from it.

    config.toml     the resolved configuration        checkpoints/last, checkpoints/best
    schema.json     the tables and fields             metrics.jsonl    one line per measurement
    vocab/          raw value → id, one Parquet per table             curves.png
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import optax
import pandas as pd
from flax import linen as nn

from dienjax import checkpoint
from dienjax.batch import Batch
from dienjax.config import Config
from dienjax.files import new_folder, write_json
from dienjax.optimizers import make_optimizer
from dienjax.schema import Schema
from dienjax.train import TrainState, init_state


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
        vocabularies: Mapping[str, pd.DataFrame] | None = None,
        force: bool = False,
    ) -> "Run":
        """A new run folder, whole or not at all. An existing one is refused (FileExistsError) without `force`."""
        model = config.model.build(schema)
        with new_folder(path, force) as folder:
            config.save(folder / "config.toml")
            write_json(folder / "schema.json", model.schema.to_json())
            (folder / "vocab").mkdir()
            for table, values in (vocabularies or {}).items():
                values.to_parquet(folder / "vocab" / f"{table}.parquet", index=False)
        return cls(Path(path), config, model.schema)

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        path = Path(path)
        for name in ("config.toml", "schema.json"):
            if not (path / name).is_file():
                raise FileNotFoundError(f"{path} is not a run folder: it has no {name}; expected what training wrote")
        config = Config.load(path / "config.toml")
        return cls(path, config, Schema.from_json(json.loads((path / "schema.json").read_text(encoding="utf-8"))))

    @cached_property
    def model(self) -> nn.Module:
        return self.config.model.build(self.schema)

    def check_schema(self, schema: Schema, whose: str) -> None:
        """Raises ValueError, with the difference, where ids of `schema` do not mean what they meant in training."""
        difference = schema.difference(self.schema)
        if difference:
            raise ValueError(
                f"{whose} does not fit the run {self.path}; - is there, + is in the run:\n{difference}\n"
                "Use the data set of the run (or one prepared with its vocabularies), or train anew"
            )

    def optimizer(self, steps_per_epoch: int = 1) -> optax.GradientTransformation:
        return make_optimizer(self.config.optimizer, steps_per_epoch, self.config.fit.epochs)

    def initial_state(self, tx: optax.GradientTransformation) -> TrainState:
        """The state before the first step, from the config's seed."""
        batch = Batch.abstract(self.schema, 1, 2, 1, negatives=self.config.auxiliary)
        return init_state(self.model, tx, batch, jax.random.key(self.config.fit.seed))

    def restore(self, kind: checkpoint.Kind, tx: optax.GradientTransformation) -> tuple[TrainState, dict[str, Any]]:
        """The newest whole checkpoint of a kind, and the loop's position in it."""
        return checkpoint.restore(self.path, kind, jax.eval_shape(lambda: self.initial_state(tx)))

    def variables(self) -> dict[str, Any]:
        """The trained variables for `model.apply`: of the best checkpoint, or of the last where none was chosen."""
        kind: checkpoint.Kind = "best" if checkpoint.steps(self.path, "best") else "last"
        return self.restore(kind, self.optimizer())[0].variables

    def vocabulary(self, table: str) -> pd.DataFrame:
        """The (id, value, count) of a table.

        Raises:
          FileNotFoundError: the run was trained on ready-made ids.
        """
        file = self.path / "vocab" / f"{table}.parquet"
        if not file.is_file():
            raise FileNotFoundError(
                f"{self.path} has no vocabulary of table {table!r}: it was trained on ready-made ids; give ids, not values"
            )
        return pd.read_parquet(file)
