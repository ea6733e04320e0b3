"""Models of other libraries as ours, and back: which module computes the same, and its weights."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from flax import linen as nn

from dienjax.errors import nearest
from dienjax.interop import deepctr_torch, torch_rechub
from dienjax.interop.columns import check_columns, check_kinds
from dienjax.interop.match import read, write
from dienjax.schema import Schema
from dienjax.training.config import ModelConfig

SOURCES: dict[str, ModuleType] = {"deepctr_torch": deepctr_torch, "torch_rechub": torch_rechub}
VERSIONS = {"deepctr_torch": "deepctr-torch 0.3.0", "torch_rechub": "torch-rechub 0.9.0"}


def from_state_dict(
    source: str,
    name: str,
    schema: Schema,
    state_dict: Mapping[str, Any],
    columns: Sequence[str],
    *,
    tables: Mapping[str, str] | None = None,
    **options: Any,
) -> tuple[nn.Module, dict[str, Any]]:
    """The Linen module that computes what the source's model does, and its variables {"params", "batch_stats"}.

    Ids are taken as they are: a table must have as many rows here as there, and id 0 must be padding there too.
    deepctr-torch must have its histories in the order of their candidate columns, or it compares items to categories.
    Its DIN with softmax=True takes the padding embedding as the interest of an empty history; ours is 0.

    A set of the user or the candidate is its VarLenSparseFeat with a combiner and no length_name (DIN alone: its DIEN
    looks none up), or torch-rechub's SequenceFeature with a pooling (mean or sum) and padding_idx=0. Of an empty set
    deepctr-torch's "max" is the largest number minus 1e9; ours is 0.

    Args:
      source: "deepctr_torch" (0.3.0) or "torch_rechub" (0.9.0).
      name: "DIN" or "DIEN".
      schema: the fields; its embedding dims give way to those of the weights.
      state_dict: torch tensors or numpy arrays by the source's keys. Without `auxiliary_net` (deepctr-torch's DIEN with
        use_negsampling=False) the variables have no `scorer`: the model predicts, but its auxiliary network has yet to
        be initialised.
      columns: every field of the schema, in the order of the source's feature columns: of deepctr-torch its SparseFeat
        and DenseFeat (a DenseFeat of several numbers is as many fields), and sets among them; of torch-rechub its
        target features, then its `features`.
      tables: the source's names of tables that are called differently here, such as {"item": "target_item"}.
      options: fields of the module that do not follow from the weights' shapes, such as kind="AUGRU" or softmax=True;
        by default the source's.

    Raises:
      ValueError: weights that do not fit, with all keys that are missing, unexpected or misshapen; columns that are not
        the schema's fields; all fields of kinds that the source does not have; an option that the source does not have.
    """
    config = model_config(source, name, schema, state_dict, columns, tables=tables, **options)
    model = config.build(schema)
    return model, read_variables(source, model, state_dict, columns, tables=tables)


def model_config(
    source: str,
    name: str,
    schema: Schema,
    state_dict: Mapping[str, Any],
    columns: Sequence[str],
    *,
    tables: Mapping[str, str] | None = None,
    **options: Any,
) -> ModelConfig:
    """The model as a run's config holds it; see `from_state_dict`."""
    module = _module(source, name)
    check_kinds(schema, module.POOLS[name], f"{VERSIONS[source]}'s {name}")
    prefix, names = module.EMBEDDING, _names(schema, tables)
    embeddings = [key.removeprefix(prefix).removesuffix(".weight") for key in state_dict if key.startswith(prefix)]
    check_columns(schema, columns, embeddings)
    if "dim" in options:
        raise ValueError(f"dim is {options['dim']!r}; leave it out: the weights tell the embedding dims")
    shapes = {key: tuple(value.shape) for key, value in state_dict.items()}
    shape = {t.name: shapes.get(f"{prefix}{names.get(t.name, t.name)}.weight", ()) for t in schema.tables}
    dim = {t.name: shape[t.name][1] if len(shape[t.name]) == 2 else t.dim for t in schema.tables}
    defaults = {field: values[0] for field, values in module.FIELDS[name].items()}
    config = ModelConfig(name, dim, {**defaults, **module.infer(name, shapes), **options})
    _check_fields(source, name, config.options)
    return config


def read_variables(
    source: str,
    model: nn.Module,
    state_dict: Mapping[str, Any],
    columns: Sequence[str],
    *,
    tables: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The variables of a model that `model_config` built; see `from_state_dict`."""
    m: Any = model
    name = type(model).__name__
    module = _module(source, name)
    scorer = bool(module.SCORER) and any(key.startswith(module.SCORER) for key in state_dict)
    links = module.links(model, columns, _names(m.schema, tables), scorer)
    return read(links, state_dict, f"{VERSIONS[source]}'s {name}", _advice(module, name))


def to_state_dict(
    source: str,
    model: nn.Module,
    variables: Mapping[str, Any],
    columns: Sequence[str],
    *,
    tables: Mapping[str, str] | None = None,
) -> dict[str, np.ndarray]:
    """The source's state_dict as numpy arrays, for `load_state_dict(strict=True)`: the inverse of `from_state_dict`.

    It has an auxiliary network if the variables have a `scorer`; num_batches_tracked is 0.

    Args:
      model: one that computes what the source's does, such as `from_state_dict` or `dienjax import-weights` made.
      columns, tables: as for `from_state_dict`.

    Raises:
      ValueError: a model that the source does not have; the message lists all fields that differ.
    """
    m: Any = model
    name, schema = type(model).__name__, m.schema
    module = _module(source, name)
    check_kinds(schema, module.POOLS[name], f"{VERSIONS[source]}'s {name}")
    check_columns(schema, columns)
    _check_fields(source, name, {field: getattr(m, field) for field in module.FIELDS[name]})
    scorer = bool(module.SCORER) and "scorer" in variables["params"]
    links = module.links(model, columns, _names(schema, tables), scorer)
    return write(links, variables, f"{name} as in {VERSIONS[source]}")


def _module(source: str, name: str) -> ModuleType:
    if source not in SOURCES:
        raise ValueError(f"source is {source!r}; {nearest(source, SOURCES)}")
    if name not in SOURCES[source].FIELDS:
        raise ValueError(f"model is {name!r}; {nearest(name, SOURCES[source].FIELDS)}")
    return SOURCES[source]


def _names(schema: Schema, tables: Mapping[str, str] | None) -> Mapping[str, str]:
    known = [t.name for t in schema.tables]
    for name in tables or {}:
        if name not in known:
            raise ValueError(f"tables: {name!r} is not a table of the schema; {nearest(name, known)}")
    return tables or {}


def _check_fields(source: str, name: str, values: Mapping[str, Any]) -> None:
    lines = []
    for field, allowed in _module(source, name).FIELDS[name].items():
        value = tuple(values[field]) if isinstance(values[field], list) else values[field]
        if value not in allowed:
            lines.append(f"  {field} is {value!r}; expected {' or '.join(map(repr, allowed))}")
    if lines:
        raise ValueError(f"{VERSIONS[source]} has no such {name}:\n" + "\n".join(lines))


def _advice(module: ModuleType, name: str) -> str:
    choices = {field: values for field, values in module.FIELDS[name].items() if len(values) > 1}
    told = "; ".join(f"{field}: {', '.join(map(repr, values))}" for field, values in choices.items())
    return (
        "Give the schema the rows and fields of the source, and tables={here: there} for an embedding of another name"
        + (f". Options, the source's default first: {told}" if told else "")
    )
