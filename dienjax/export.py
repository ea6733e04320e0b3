"""A trained ranker as one ONNX file, there under its name only if onnxruntime computes with it what JAX does."""

import importlib.util
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.extend.core import jaxpr_as_fun

from dienjax.batch import Array, Batch
from dienjax.files import new_folder, write_text
from dienjax.metrics import Task
from dienjax.report import read_metrics
from dienjax.run import Run
from dienjax.schema import PADDING, Schema

Serve = Callable[[Mapping[str, Any], Mapping[str, Array]], jax.Array]

OUTPUT: dict[Task, str] = {"binary": "probability", "regression": "prediction"}
"""What the graph's output is called, by task."""

TOLERANCE = 1e-5
"""The largest difference between onnxruntime and JAX; for predictions above 1, relative to the largest."""

OPSET = 21
"""The newest operator set that the oldest onnxruntime we allow (1.20) can run."""

LARGEST_FILE = 1_900_000_000
"""Bytes of weights that go into ranker.onnx itself: protobuf ends at 2 GiB. Beyond, they go to a file beside it."""

IDS = np.iinfo(np.int32)


def ranker_inputs(schema: Schema, B: Any, T: Any, K: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """The shape and dtype of every serving input by name; B, T and K may be symbolic dimensions.

    `hist_<behaviour>` [B, T] are the past behaviours, right-padded with 0; `<behaviour>` [B, K] are the candidates;
    sparse and dense features go by their own names, [B] or [B, K].

    Raises:
      ValueError: two inputs, or an input and the output, would have one name.
    """
    batch = Batch.abstract(schema, B, T, K)
    groups = ({f"hist_{name}": s for name, s in batch.history.items()}, batch.candidate, batch.user)
    taken = set(OUTPUT.values())
    for name in (name for group in groups for name in group):
        if name in taken:
            raise ValueError(
                f"ranker: the name {name!r} would stand for two inputs or outputs; expected one of each: "
                f"rename the field (hist_<behaviour>, {' and '.join(OUTPUT.values())} are taken)"
            )
        taken.add(name)
    return {name: s for group in groups for name, s in group.items()}


def ranker(model: nn.Module, schema: Schema, task: Task = "binary") -> Serve:
    """A pure function (variables, arrays by name) -> probability_BK, or prediction_BK for the task "regression".

    The arrays are those of `ranker_inputs`. A history slot is real where the first behaviour's id is not 0; an id
    outside its table counts as unknown.
    """
    expected = ranker_inputs(schema, 1, 1, 1).keys()

    def serve(variables: Mapping[str, Any], arrays: Mapping[str, Array]) -> jax.Array:
        if arrays.keys() != expected:
            raise ValueError(f"ranker got the inputs {sorted(arrays)}; expected {sorted(expected)}")
        candidate_BK = arrays[schema.item]
        names = Batch.abstract(schema, 1, 1, 1)
        batch = Batch(
            user={name: arrays[name] for name in names.user},
            history={name: arrays[f"hist_{name}"] for name in names.history},
            candidate={name: arrays[name] for name in names.candidate},
            mask_BT=arrays[f"hist_{schema.item}"] != PADDING,
            mask_BK=jnp.ones(candidate_BK.shape, bool),
            label_BK=jnp.zeros(candidate_BK.shape),
        )
        output: Any = model.apply(variables, batch)
        logit_BK: jax.Array = output.logit_BK
        return logit_BK if task == "regression" else nn.sigmoid(logit_BK)

    return serve


def export_onnx(run: Run, output_dir: str | Path, force: bool = False) -> Path:
    """The path of output_dir/ranker.onnx, made of the run's best checkpoint; B, T and K are dynamic, T at least 1.

    Beside it stands parity.txt, the differences from JAX that were measured. Inside, as ONNX metadata: the schema and
    its hash, the config, the validation metrics, the checkpoint, the versions.

    Raises:
      ModuleNotFoundError: the extra "onnx" is not installed.
      FileExistsError: `output_dir` exists, and `force` is not given.
      RuntimeError: the conversion failed, or onnxruntime differs from JAX by more than TOLERANCE; nothing is written.
    """
    for name in ("jax2onnx", "onnx", "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"export_onnx needs {name}, which is not installed: pip install 'dienjax[onnx]'")
    with new_folder(output_dir, force) as folder:
        _convert_apart(run.path, folder)
    return Path(output_dir) / "ranker.onnx"


def _convert_apart(run: Path, folder: Path) -> None:
    """Calls `convert` in a process of its own: jitted functions that jax2onnx traces are of no use afterwards.

    It runs on the CPU: an accelerator may be in use, and rounds float32 products where onnxruntime does not.
    """
    call = "from dienjax.export import _main; _main()"
    command = [sys.executable, "-c", call, str(run.absolute()), str(folder)]
    done = subprocess.run(
        command, env={**os.environ, "JAX_PLATFORMS": "cpu"}, capture_output=True, text=True, errors="replace"
    )
    if done.returncode == 0:
        return
    failure = folder / "error.txt"
    if failure.exists():
        why = failure.read_text(encoding="utf-8")
    else:
        last = "\n".join(done.stderr.splitlines()[-8:])
        why = f"its process ended with code {done.returncode} (-9: out of memory?):\n{last}"
    error = RuntimeError(f"exporting {run} to ONNX failed: {why}")
    error.add_note(done.stderr[-4000:])
    raise error


def _main() -> None:
    run, folder = sys.argv[1:]
    try:
        convert(Run.open(run), Path(folder))
    except Exception as error:
        traceback.print_exc()
        write_text(Path(folder) / "error.txt", f"{type(error).__name__}: {error}")
        sys.exit(1)


def convert(run: Run, folder: Path) -> None:
    """Nothing; `folder` then holds ranker.onnx and parity.txt. For a process that does nothing else: see `export_onnx`.

    Raises:
      ValueError: onnxruntime and JAX differ.
    """
    import onnx
    import onnxruntime

    state, _ = run.restore(run.chosen, run.optimizer())
    task = run.config.loss.task
    serve = ranker(run.model, run.schema, task)
    cases = list(_cases(run.schema, run.config.data.max_len))
    served = jax.jit(serve)
    expected = [np.asarray(served(state.variables, arrays)) for _, arrays in cases]  # before jax2onnx traces anything

    model = _onnx_model(serve, state.variables, run.schema, OUTPUT[task])
    model.metadata_props.update(_metadata(run, int(state.step)))
    file = folder / "ranker.onnx"
    _save(model, file)
    onnx.checker.check_model(str(file))
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    got = [session.run(None, arrays)[0] for _, arrays in cases]
    shapes = [
        (title, *arrays[f"hist_{run.schema.item}"].shape, want.shape[1])
        for (title, arrays), want in zip(cases, expected, strict=True)
    ]
    write_text(folder / "parity.txt", _parity(shapes, got, expected, OUTPUT[task]))


def _onnx_model(serve: Serve, variables: Any, schema: Schema, output: str) -> Any:
    """The onnx_ir model of the serving function with symbolic B, T and K; the variables are its initializers."""
    from jax2onnx import to_onnx

    inputs = ranker_inputs(schema, *jax.export.symbolic_shape("B, T, K"))
    # Traced first: jax2onnx's own trace of a Linen module stops at nn.scan.
    jaxpr = jax.make_jaxpr(lambda *arrays: serve(variables, dict(zip(inputs, arrays, strict=True))))(*inputs.values())
    model = to_onnx(
        jaxpr_as_fun(jaxpr), inputs=list(inputs.values()), input_names=list(inputs), output_names=[output],
        model_name="ranker", opset=OPSET, return_mode="ir",
    )  # fmt: skip
    _tidy(model)
    return model


def _tidy(model: Any) -> None:
    """Takes out what nothing uses: onnxruntime warns of every unused initializer of a Loop body."""
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    RemoveUnusedNodesPass()(model)
    for graph in model.graphs():  # the pass keeps initializers of bodies
        for name, value in list(graph.initializers.items()):
            if not value.uses() and not value.is_graph_output():
                del graph.initializers[name]


def _save(model: Any, file: Path, largest: int = LARGEST_FILE) -> None:
    """Writes the model, with tensors over 1 MB in <file>.data beside it where one file cannot hold them."""
    import onnx_ir

    size = sum(v.const_value.nbytes for g in model.graphs() for v in g.initializers.values())
    beside = f"{file.name}.data" if size > largest else None
    onnx_ir.save(model, file, external_data=beside, size_threshold_bytes=1_000_000)


def _metadata(run: Run, step: int) -> dict[str, str]:
    path = run.path / "metrics.jsonl"
    lines = read_metrics(path) if path.exists() else []
    metrics = [line for line in lines if line.get("kind") == "valid" and line.get("step") == step]
    values = {
        "schema": run.schema.to_json(),
        "config": run.config.to_dict(),
        "checkpoint": {"kind": run.chosen, "step": step},
        "validation": metrics[-1] if metrics else None,
        "versions": {name: version(name) for name in ("dienjax", "jax", "flax", "jax2onnx")},
    }
    return {"dienjax.schema_hash": run.schema.hash} | {f"dienjax.{n}": json.dumps(v) for n, v in values.items()}


def _cases(schema: Schema, max_len: int) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Inputs to compare, with a title: (B, T, K) from the smallest to one real request, and what users get wrong."""
    random = np.random.default_rng(0)
    for title, (B, T, K), lengths in (
        ("smallest", (1, 1, 1), [1]),
        ("mixed lengths", (3, 7, 2), [7, 3, 0]),
        ("length 1", (3, 7, 2), [1, 1, 1]),
        ("all empty", (3, 7, 2), [0, 0, 0]),
        ("ids out of range", (3, 7, 2), [7, 4, 1]),
        ("one request", (1, max_len, 200), [max_len]),
    ):
        sizes, arrays = schema.sizes(), {}
        for name, spec in ranker_inputs(schema, B, T, K).items():
            size = sizes.get(name.removeprefix("hist_") if name not in sizes else name, 0)
            if spec.dtype == np.float32:
                arrays[name] = random.normal(size=spec.shape).astype(np.float32)
            elif title == "ids out of range":
                arrays[name] = random.choice([IDS.min, -1, size - 1, size, IDS.max], spec.shape).astype(np.int32)
            else:
                arrays[name] = random.integers(1, size, spec.shape, dtype=np.int32)
        mask_BT = np.arange(T) < np.array(lengths)[:, None]
        for behaviour in schema.behaviours:
            arrays[f"hist_{behaviour.name}"] *= mask_BT
        yield title, arrays


def _parity(cases: list[tuple[str, int, int, int]], got: list[Any], expected: list[Any], output: str) -> str:
    """The table of largest differences.

    Raises:
      ValueError: one is above TOLERANCE, or not a number; the message says at which shape.
    """
    lines = [
        f"largest difference of {output} between onnxruntime and JAX",
        f"{'case':18}{'B':>5}{'T':>5}{'K':>5}  difference",
    ]
    for (title, B, T, K), one, other in zip(cases, got, expected, strict=True):
        difference = float(np.abs(one - other).max() / max(1.0, np.abs(other).max()))
        if not difference <= TOLERANCE:
            raise ValueError(
                f"onnxruntime and JAX differ by {difference:.3g} in {output} at (B, T, K) = ({B}, {T}, {K}) ({title}); "
                f"expected at most {TOLERANCE:g}. Check the variables for NaN or very large numbers; "
                "if they are sound, please report it with the versions of jax2onnx and onnxruntime"
            )
        lines.append(f"{title:18}{B:5}{T:5}{K:5}  {difference:10.1e}")
    return "\n".join(lines) + "\n"
