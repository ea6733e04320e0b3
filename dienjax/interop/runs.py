"""A file of another library's weights as a run folder, and a run's weights as such a file."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from dienjax.data.store import Store
from dienjax.interop.convert import SOURCES, VERSIONS, model_config, read_variables, to_state_dict
from dienjax.interop.files import read_weights, write_weights
from dienjax.schema import Schema
from dienjax.storage.files import read_object, write_json
from dienjax.storage.folders import check_free
from dienjax.training import checkpoint
from dienjax.training.config import Config, apply_override
from dienjax.training.run import PURPOSE, Run
from dienjax.training.step import TrainState

FILE = "import.json"
"""In the run folder: the source, the file, the order of its columns, and whether it lacks an auxiliary network."""


def import_run(
    path: str | Path,
    weights: str | Path,
    source: str,
    name: str,
    schema: str | Path,
    columns: Sequence[str],
    overrides: Iterable[str] = (),
    tables: Mapping[str, str] | None = None,
    force: bool = False,
) -> Run:
    """Write a run folder whose checkpoint of step 0 holds the weights of the file.

    Args:
      path: the run folder to write.
      weights: the file of a state_dict.
      source, name, columns, tables: as for `from_state_dict`.
      schema: an event store, whose vocabularies the run keeps, or a schema.json.
      overrides: "section.key=value" of the config, as for `Config.load`; those of [model] are the options of
        `from_state_dict`. Without an auxiliary network in the weights loss.alpha is 0, unless it is set: the network
        is then initialised.
      force: replace the folder if it exists.

    Raises:
      FileNotFoundError: no file of weights, no store or schema.
      FileExistsError: `path` exists, and is not a run folder or `force` is False.
      ValueError: weights, columns or options that do not fit; see `from_state_dict` and `read_weights`.
    """
    check_free(path, force, PURPOSE, [Path(weights)])
    state_dict = read_weights(weights)
    store, fields = _schema(Path(schema))
    sections: dict[str, dict[str, Any]] = {}
    for override in overrides:
        apply_override(sections, override)
    options = sections.pop("model", {})
    if options.pop("name", name) != name:
        raise ValueError(f"model.name is set to something other than {name}; leave it out")
    model = model_config(source, name, fields, state_dict, columns, tables=tables, **options)
    variables = read_variables(source, model.build(fields), state_dict, columns, tables=tables)
    if model.options.get("padding") == "torch_rechub":
        sections["data"] = {"lengths": 1} | sections.get("data", {})
    lacks_scorer = model.options.get("auxiliary") == "mlp" and "scorer" not in variables["params"]
    if lacks_scorer:
        sections["loss"] = {"alpha": 0.0} | sections.get("loss", {})
    config = Config.from_dict({**sections, "model": {"name": name, "dim": model.dim, **model.options}})

    def complete(run: Run) -> None:
        tx, params = run.optimizer(), variables["params"]
        if lacks_scorer and config.auxiliary:
            params = {**run.initial_state(tx).params, **params}
        state = TrainState(jnp.zeros((), jnp.int32), params, variables["batch_stats"], jax.jit(tx.init)(params))
        checkpoint.save(run.path, "last", state, position={})
        origin = {"weights": str(Path(weights).absolute()), "source": source, "columns": list(columns)}
        write_json(run.path / FILE, {**origin, "tables": dict(tables or {}), "lacks_scorer": lacks_scorer})

    return Run.create(path, config, fields, store, force, complete)


def summary(run: Run) -> str:
    """What was imported, as text: the settings that do not follow from the weights, and what to watch for."""
    m: Any = run.model
    told = json.loads((run.path / FILE).read_text(encoding="utf-8"))
    allowed = SOURCES[told["source"]].FIELDS[run.config.model.name]
    lines = [f"{run.path}: {VERSIONS[told['source']]}'s {run.config.model.name}, from {told['weights']}"]
    choices = [f"{field} = {getattr(m, field)!r}" for field, values in allowed.items() if len(values) > 1]
    if choices:
        lines.append(f"check against the source; the weights do not determine all of it: {', '.join(choices)}")
    if getattr(m, "padding", "") == "torch_rechub":
        lines.append(
            "padded positions take part in the attention: the probabilities are those of the source where histories "
            "are padded to the same length, and that is here the longest of the data, at most data.max_len = "
            f"{run.config.data.max_len} (irrelevant without softmax if row 0 of the tables is 0: padding_idx=0)"
        )
    if told["source"] == "deepctr_torch" and run.config.model.name == "DIN" and m.softmax:
        lines.append(
            "an empty history has no interest here; with softmax, the source takes the embedding of the padding"
        )
    if told["lacks_scorer"]:
        state = "freshly initialised" if run.config.auxiliary else "left out (loss.alpha = 0)"
        lines.append(f"the weights hold no auxiliary network: it is {state}")
    return "\n".join(lines)


def export_run(
    run: Run | str | Path,
    source: str,
    columns: Sequence[str],
    output: str | Path,
    tables: Mapping[str, str] | None = None,
    force: bool = False,
) -> int:
    """Write the trained weights as the source's state_dict; return the number of tensors."""
    run = run if isinstance(run, Run) else Run.open(run)
    tensors = to_state_dict(source, run.model, run.variables(), columns, tables=tables)
    write_weights(output, tensors, force)
    return len(tensors)


def _schema(path: Path) -> tuple[Store | None, Schema]:
    """The store, if it is one, and its schema."""
    if path.is_dir():
        store = Store.open(path)
        store.verify()
        return store, store.schema
    if not path.is_file():
        raise FileNotFoundError(f"{str(path)!r} is neither a store nor a schema file")
    return None, Schema.from_json(read_object(path))
