"""The folder that an export writes: graphs or programs, the vocabularies, and export.json, which lists them.

export.json    schema, max_len, dtype of ids, checkpoint, versions, the SHA-256 of every other file and of itself
vocab/         the values of each table in the order of their ids, from id 2 on; absent where values are ids already
onnx           ranker.onnx, user_encoder.onnx, candidate_scorer.onnx; tables.data beside large ones
stablehlo      the programs, parameters.npz
parity.txt     the differences from JAX that were measured
"""

import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import jax

from dienjax.errors import nearest
from dienjax.export.graphs import OUTPUT, Graph, Ids, graphs, in_float32
from dienjax.export.parity import (
    Served,
    cases,
    jax_scores,
    largest_difference,
    onnx_functions,
    parity_table,
    served_scores,
)
from dienjax.export.quantised import Precision, reduced_tables
from dienjax.export.split_parity import OnSplit, split_text
from dienjax.export.stablehlo import load_programs, save_programs
from dienjax.serving.folder import FORMAT, sealed
from dienjax.storage.files import sha256, write_json, write_text
from dienjax.training.progress import read_metrics
from dienjax.training.run import Run

Form = Literal["onnx", "stablehlo"]

STATUS_PREFIX = "export: "
"""The start of a line that tells a person what is being done."""


@dataclass(frozen=True)
class Options:
    """How a run is exported; see `export_run`."""

    form: Form = "onnx"
    tables: Precision = "float32"
    ids: Ids = "int64"
    split: str = ""
    store: str = ""

    def __post_init__(self) -> None:
        for name, known in (("form", Form), ("tables", Precision), ("ids", Ids)):
            if getattr(self, name) not in get_args(known):
                raise ValueError(
                    f"export: {name} is {getattr(self, name)!r}; {nearest(getattr(self, name), get_args(known))}"
                )
        if self.split and self.form != "onnx":
            raise ValueError(f"export: split is {self.split!r}, but only ONNX graphs are compared on one: leave it out")


def write_folder(run: Run, folder: Path, options: Options) -> None:
    """Write the export to the empty `folder`, in a process that does nothing else; see `export_run`.

    Raises:
      ValueError: what was exported does not compute what JAX does.
    """
    _say(f"restoring the {run.chosen!r} checkpoint of {run.path}")
    variables, step = _restored(run)
    facts = _facts(run, step, options)
    reduced = _reduced(variables, options.tables)
    facts |= _write_compared(run, variables, reduced, folder, options, facts)
    if run.has_vocabulary:
        _write_vocabularies(run, folder / "vocab")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "parity.txt")
    listed = {path.relative_to(folder).as_posix(): sha256(path) for path in files}
    write_json(folder / "export.json", sealed({"format": FORMAT, **facts, "files": listed}))


def _say(text: str) -> None:
    print(f"{STATUS_PREFIX}{text}", file=sys.stderr, flush=True)


def _restored(run: Run) -> tuple[dict[str, Any], int]:
    """The variables and their step; the optimizer's state, twice as large, is freed."""
    with warnings.catch_warnings(record=True) as caught:
        state, _ = run.restore(run.chosen, run.optimizer())
    for warning in caught:  # of a damaged checkpoint, say: nobody sees what else this process prints
        _say(f"warning: {warning.message}")
    return state.variables, int(state.step)


def _reduced(variables: dict[str, Any], tables: Precision) -> dict[str, Any]:
    params = variables["params"]
    return variables | {"params": params | {"embedder": reduced_tables(params["embedder"], tables)}}


def _facts(run: Run, step: int, options: Options) -> dict[str, Any]:
    """What the export is, for export.json and for the metadata of each graph."""
    path = run.path / "metrics.jsonl"
    lines = read_metrics(path) if path.exists() else []
    metrics = [line for line in lines if line.get("kind") == "valid" and line.get("step") == step]
    packages = ("dienjax", "jax", "flax", *(["jax2onnx"] if options.form == "onnx" else []))
    return {
        "form": options.form,
        "schema": run.schema.to_json(),
        "task": run.config.loss.task,
        "max_len": run.config.data.max_len,
        "ids": options.ids if options.form == "onnx" else "int32",
        "tables": options.tables,
        "checkpoint": {"kind": run.chosen, "step": step},
        "versions": {name: version(name) for name in packages},
        "validation": metrics[-1] if metrics else None,
    }


def _write_compared(
    run: Run, variables: dict[str, Any], reduced: dict[str, Any], folder: Path, options: Options, facts: dict[str, Any]
) -> dict[str, Any]:
    """Writes graphs or programs, and parity.txt; returns what export.json says of their parity on the split."""
    task, ids, exact = run.config.loss.task, options.ids, options.tables == "float32"
    serving = graphs(in_float32(run.model), reduced, task, *jax.export.symbolic_shape("B, T, K"))
    ranker = serving[0]
    every = cases(run.schema, ranker.inputs, run.config.data.max_len, ids)
    compared = [case for case in every if case.B or options.form == "onnx"]  # B of a program is at least 1
    _say("computing with JAX what is expected")  # before jax2onnx traces anything
    want = jax_scores(ranker, reduced, compared)
    want_exact = want if exact else jax_scores(ranker, variables, compared)
    split = None
    if options.split:
        _say(f"scoring the split {options.split!r} with JAX")
        split = OnSplit(run, variables, options.split, options.store)

    served: Mapping[str, Served]
    if options.form == "onnx":
        _convert(serving, reduced, folder, ids, _metadata(run, facts))
        served, by = onnx_functions(folder, serving), "onnxruntime"
    else:
        _say("writing the StableHLO programs")
        save_programs(serving, reduced, folder)
        served, by = load_programs(folder), "StableHLO"
    _say(f"comparing {by} with JAX")
    text = f"largest difference of {OUTPUT[task]} between {by} and JAX, both with {options.tables} tables\n"
    text += parity_table(compared, ranker.inputs, served_scores(serving, served, compared), want)
    if not exact:
        text += f"largest difference of these tables from float32 ones: {largest_difference(want, want_exact):.1e}\n"
    measured = split.compare(folder / "ranker.onnx", ids, exact) if split else None
    write_text(folder / "parity.txt", text + (split_text(measured) if measured else ""))
    return {"split": measured} if measured else {}


def _metadata(run: Run, facts: dict[str, Any]) -> dict[str, str]:
    """The metadata of each graph."""
    values = {"config": run.config.to_dict(), **facts}
    return {"dienjax.schema_hash": run.schema.hash} | {f"dienjax.{n}": json.dumps(v) for n, v in values.items()}


def _convert(serving: Sequence[Graph], variables: Any, folder: Path, ids: Ids, metadata: dict[str, str]) -> None:
    """Writes the graphs. Both modules are imported here, because they need the extra "onnx"."""
    import onnx

    from dienjax.export.onnx import onnx_model, save

    models = {}
    for graph in serving:
        _say(f"converting the {graph.name.replace('_', ' ')} to ONNX")
        models[graph.name] = onnx_model(graph, variables, ids)
        models[graph.name].metadata_props.update(metadata)
    save(models, folder)
    for name in models:
        onnx.checker.check_model(str(folder / f"{name}.onnx"))


def _write_vocabularies(run: Run, folder: Path) -> None:
    folder.mkdir()
    for table in (t for t in run.schema.tables if t.has_vocabulary):
        values = run.vocabulary(table.name)["value"].tolist()
        if not set(map(type, values)) <= {str, bool, int, float}:
            values = [str(value) for value in values]  # dates, which JSON does not know
        write_text(folder / f"{table.name}.json", json.dumps(values, ensure_ascii=False, allow_nan=False))
