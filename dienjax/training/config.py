"""The configuration of a run: frozen dataclasses, TOML on disk, and errors that name the nearest key."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import Field as DataclassField
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import tomli_w
from flax import linen as nn
from pydantic import Field

from dienjax.errors import nearest
from dienjax.models.by_name import model_class
from dienjax.models.settings import Count, Share, Width, check, checked
from dienjax.schema import Schema
from dienjax.storage.files import sealed, write_text
from dienjax.training.layout import DevicesConfig
from dienjax.training.losses import LossConfig, has_auxiliary
from dienjax.training.optimizers import OptimizerConfig

CONFIGS = Path(__file__).parents[1] / "configs"
"""The shipped configs, whose names `Config.load` takes as well."""

Length = Annotated[int, Field(ge=1, le=100_000)]
Positive = Annotated[int, Field(ge=1, le=2**31 - 1)]

Choose = Literal["auc", "gauc", "logloss"]


@dataclass(frozen=True)
class DataConfig:
    """What is read, and how it is cut into batches.

    Attributes:
      train: the training split. Of a store with protocol "last": "train" has the last event of every training user
        (the DIEN paper), "train_all" every event of them. "auto" takes "train_all" where there is one, else "train".
      valid: the split that chooses the checkpoint; "" trains without one.
      batch_size: histories a batch; each has its positive and its sampled negative as candidates.
      max_len: the most recent behaviours that are used; not read where the schema has channels with lengths of theirs.
      lengths: history lengths of the batches; a sample goes to the smallest that holds it. A number: that many, chosen
        so that the fewest slots are padding (1 pads to the longest history). A list: exactly these; [50] always pads
        to 50.
      negatives: how negatives are drawn: "popularity" (any event that training knows, as the DIEN authors do) or
        "uniform" (any item).
      own: "exclude" draws no negative from what the user ever did; "allow" only spares the positive.
      unknown: share of the values of each table that a training step takes for unknown, so that id 1 is trained.
    """

    train: str = "train"
    valid: str = "valid"
    batch_size: Annotated[int, Field(ge=1, le=10**6)] = 128
    max_len: Length = 50
    lengths: Length | Annotated[tuple[Length, ...], Field(min_length=1)] = 8
    negatives: Literal["popularity", "uniform"] = "popularity"
    own: Literal["allow", "exclude"] = "allow"
    unknown: Share = 0.01

    def __post_init__(self) -> None:
        check("data", self)


@dataclass(frozen=True)
class FitConfig:
    """How long to train, and when to look.

    Attributes:
      epochs: the most passes over the training split.
      evaluate_every: steps between validations; 0 validates after every epoch.
      choose: what chooses the best checkpoint and patience counts by: "auc", "gauc" (the order within each user), or
        "logloss" (the probabilities themselves). Regression always goes by RMSE.
      patience: validations without a better value before training stops; 0 never stops early.
      save_every: steps between checkpoints beside those at every validation; 0 saves at validations only.
      log_every: steps between lines in metrics.jsonl.
      tensorboard: also write TensorBoard files into the run folder (needs the extra "tensorboard").
      seed: of the parameters, the shuffling, the sampled negatives and dropout.
      seeds: trains this many seeds from `seed` on in one compiled step, each into a run folder of its own, for devices
        that one model does not fill; on a CPU it gains nothing.
    """

    epochs: Positive = 3
    evaluate_every: Count = 0
    choose: Choose = "auc"
    patience: Count = 2
    save_every: Count = 1000
    log_every: Positive = 50
    tensorboard: bool = False
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    seeds: Positive = 1

    def __post_init__(self) -> None:
        check("fit", self)


@dataclass(frozen=True)
class ModelConfig:
    """Which model, and the fields of its Linen module.

    Attributes:
      name: "DIN", "DIEN", or "package.module:Class" for a `dienjax.models.Model` of your own.
      dim: embedding dim of every table, or by table name; 0 keeps the schema's.
      options: fields of the model's module; in TOML they stand beside name and dim.
    """

    name: str = "DIEN"
    dim: Literal[0] | Width | dict[str, Width] = 0
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check("model", self)
        hints = get_type_hints(model_class(self.name), include_extras=True)
        _refuse_unknown("model", self.options, {f.name for f in self._fields} | {"name", "dim"})
        options = {k: checked(f"model.{k}", hints[k], v) for k, v in self.options.items()}
        object.__setattr__(self, "options", options)

    def build(self, schema: Schema) -> nn.Module:
        """The Linen module for the schema."""
        return model_class(self.name)(schema=schema.with_dims(self.dim) if self.dim else schema, **self.options)

    @property
    def defaults(self) -> dict[str, Any]:
        """The defaults of the module's fields, as far as TOML has a word for them."""
        return {f.name: f.default for f in self._fields if isinstance(f.default, bool | int | float | str | tuple)}

    @property
    def _fields(self) -> list[DataclassField]:
        """The fields of the module that a config may set."""
        module: Any = model_class(self.name)
        return [f for f in fields(module) if f.name not in ("schema", "parent", "name")]


@dataclass(frozen=True)
class Config:
    """All of a run. `Config.load` reads TOML, `save` writes it with every default filled in."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    devices: DevicesConfig = field(default_factory=DevicesConfig)

    def __post_init__(self) -> None:
        if self.devices.tables == "host" and self.optimizer.rows == "dense":
            raise ValueError(
                'devices.tables is "host", and optimizer.rows is "dense", which changes every row in each step; '
                'expected optimizer.rows="lazy"'
            )

    @property
    def auxiliary(self) -> bool:
        """Whether the run has an auxiliary loss, and so needs negative histories."""
        return has_auxiliary(model_class(self.model.name), self.loss)

    def to_dict(self) -> dict[str, Any]:
        """The config as TOML holds it, every default filled in."""
        model = {"name": self.model.name, "dim": self.model.dim, **self.model.defaults, **self.model.options}
        return {**asdict(self), "model": model}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Config":
        """The config of what `to_dict` gave, or of parts of it.

        Raises:
          ValueError: an unknown key (with the nearest names), or a value of the wrong type.
        """
        parts = {f.name: f for f in fields(cls)}
        _refuse_unknown("", data, parts)
        sections: dict[str, Any] = {}
        for name, section in data.items():
            if not isinstance(section, Mapping):
                raise ValueError(f"{name} is {section!r}; expected a section [{name}]")
            if name == "model":
                own = {k: section[k] for k in ("name", "dim") if k in section}
                section = {**own, "options": {k: v for k, v in section.items() if k not in own}}
            sections[name] = _section(name, parts[name].default_factory, section)
        return cls(**sections)

    def for_splits(self, splits: Iterable[str]) -> "Config":
        """The config that names the training split, where it leaves the choice open."""
        train = "train_all" if "train_all" in splits else "train"
        return replace(self, data=replace(self.data, train=train)) if self.data.train == "auto" else self

    @classmethod
    def load(cls, path: str | Path, overrides: Iterable[str] = ()) -> "Config":
        """The config of a TOML file, or the shipped one of that name, such as "dien"; a file goes before it.

        Args:
          overrides: "section.key=value" with the value written as in TOML.
        """
        path = _file(path)
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"{path}: not valid TOML: {error}") from error
        for override in overrides:
            apply_override(data, override)
        try:
            return cls.from_dict(data)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write the config as TOML, with a last line of comment that tells a run whether the others are whole."""
        write_text(path, sealed(tomli_w.dumps(self.to_dict())))


def _file(path: str | Path) -> Path:
    if Path(path).exists() and not Path(path).is_dir():
        return Path(path)
    shipped = {file.stem: file for file in CONFIGS.glob("*.toml")}
    if str(path) not in shipped:
        known = ", ".join(sorted(shipped, key=lambda name: -SequenceMatcher(None, name, str(path)).ratio()))
        raise FileNotFoundError(f"no config {str(path)!r}; expected a TOML file, or one that is shipped: {known}")
    return shipped[str(path)]


def _section(where: str, kind: Any, values: Mapping[str, Any]) -> Any:
    _refuse_unknown(where, values, {f.name for f in fields(kind)})
    return kind(**values)


def _refuse_unknown(where: str, given: Iterable[str], known: Iterable[str]) -> None:
    for key in given:
        if key not in known:
            raise ValueError(f"unknown key {where + '.' if where else ''}{key}; {nearest(key, known)}")


def apply_override(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    *sections, name = key.strip().split(".")
    if not equals or len(sections) != 1:
        raise ValueError(f"--set {override!r}; expected section.key=value, such as loss.alpha=0.5")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # a bare word is a string
    section = data.setdefault(sections[0], {})
    if not isinstance(section, dict):
        raise ValueError(f"{sections[0]} is {section!r}; expected a section [{sections[0]}]")
    section[name] = value
