"""Small runs with random weights, and their graphs in onnxruntime."""

import functools
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from builders import SCHEMA, randomised
from dienjax.schema import Behaviour, Schema, Table
from dienjax.training import checkpoint
from dienjax.training.config import Config
from dienjax.training.run import Run

SMALL = {"attention_hidden": (8, 4), "tower": (6,)}
MODELS = {
    "din": {"name": "DIN", "batch_norm": True},
    "din_softmax": {"name": "DIN", "softmax": True},
    "augru": {"name": "DIEN", "dim": 2},
    "augru_author": {"name": "DIEN", "gate": "author", "attention": "bilinear", "state": 7},
    "agru": {"name": "DIEN", "kind": "AGRU", "softmax": False, "attention_activation": "prelu"},
    "aigru": {"name": "DIEN", "kind": "AIGRU", "gate": "author"},
    "gru": {"name": "DIEN", "kind": "GRU", "attention": "bilinear", "tower_activation": "relu"},
    "min": {"name": "DIEN", "kind": "minAUGRU", "extractor": "minGRU", "attention": "bilinear"},
    "min_author": {"name": "DIEN", "kind": "minAUGRU", "gate": "author", "state": 7},
}
PLAIN = Schema(SCHEMA.tables[:1], SCHEMA.behaviours[:1])
"""No feature of the user or the candidates: arrays of width 0, which ONNX cannot reshape."""
LARGE = Schema((Table("item", 60_000, 20), Table("category", 9, 3)), (Behaviour("item"), Behaviour("category")))
"""A table of 1.2 MB in int8."""
SCHEMAS = {"din_softmax": PLAIN, "aigru": PLAIN, "large": LARGE}
SLOW = ("augru_author", "aigru", "gru", "min_author")
"""Exported for slow tests alone."""
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in MODELS]
INT32 = ("din_softmax", "agru")
"""Exported with ids of this type."""

CONVERT = """
import json, sys
from pathlib import Path
from dienjax.export.folder import Options, write_folder
from dienjax.training.run import Run
assert not {'onnx', 'onnxruntime', 'jax2onnx'} & set(sys.modules), 'imported at the top'
root = Path(sys.argv[1])
for name, run, options in json.loads(sys.argv[2]):
    if name == "large":
        import dienjax.export.onnx
        dienjax.export.onnx.save.__defaults__ = (1_000_000,)
    (root / name).mkdir()
    write_folder(Run.open(root / f"run_{run}"), root / name, Options(**options))
"""
SHARD = """
import sys, jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from dienjax.training import checkpoint
from dienjax.training.run import Run
run = Run.open(sys.argv[1])
mesh = jax.make_mesh((4,), ("rows",), axis_types=(AxisType.Auto,))
def place(path, leaf):
    cut = "embedder" in jax.tree_util.keystr(path) and leaf.shape[0] % 4 == 0
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, P("rows") if cut else P()))
shapes = jax.eval_shape(lambda: run.initial_state(run.optimizer()))
state, _ = checkpoint.restore(run.path, "best", jax.tree_util.tree_map_with_path(place, shapes))
print({name: table.addressable_shards[0].data.shape[0] for name, table in state.params["embedder"].items()})
checkpoint.save(run.path, "best", state, {})
"""


def random_state(run):
    """A state of step 30, no bias 0 and no variance 1."""
    shapes = jax.eval_shape(lambda: run.initial_state(run.optimizer()))
    state = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 30, leaf.dtype), shapes)
    params, batch_stats = (jax.tree.map(jnp.asarray, randomised(x)) for x in (state.params, state.batch_stats))
    return state.replace(params=params, batch_stats=batch_stats)


def make_run(path, model, schema=SCHEMA, task="binary"):
    """A run folder with a checkpoint of random variables, without training."""
    config = Config.from_dict({"model": {**SMALL, **model}, "loss": {"task": task}, "data": {"max_len": 5}})
    run = Run.create(path, config, schema)
    checkpoint.save(run.path, "best", random_state(run), {})
    return run


def make_all(folder, slow):
    """Runs and their exports in `folder`, made by one process that is not this one: jax2onnx leaves traces."""
    models = {name: model for name, model in MODELS.items() if slow or name not in SLOW}
    for name, model in (models | {"large": MODELS["din"]}).items():
        make_run(folder / f"run_{name}", model, SCHEMAS.get(name, SCHEMA), "regression" if name == "agru" else "binary")
    # augru's checkpoint is then one that four devices wrote.
    four = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    (folder / "shards.txt").write_text(in_a_process(SHARD, folder / "run_augru", **four))
    exports = [("programs", "din", {"form": "stablehlo"})]  # first: jax2onnx leaves traces
    exports += [(name, name, {"ids": "int32" if name in INT32 else "int64"}) for name in models]
    exports += [("large", "large", {"tables": "int8"})]  # last: with another limit for the size of a file
    in_a_process(CONVERT, folder, json.dumps(exports))


def in_a_process(script, *argv, **environment):
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, argv)], env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@functools.cache
def open_session(file):
    import onnxruntime

    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])


def run_graph(file, arrays):
    """The outputs by name; `arrays` may hold more than the inputs, and ids of another type."""
    session = open_session(file)
    types = {i.name: {"tensor(int32)": "int32", "tensor(int64)": "int64"}.get(i.type) for i in session.get_inputs()}
    feed = {name: arrays[name].astype(dtype or arrays[name].dtype) for name, dtype in types.items()}
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))


def both_scores(folder, arrays):
    """[B, K] by the ranker, and by the user encoder and the candidate scorer."""
    encoded = run_graph(folder / "user_encoder.onnx", arrays)
    graphs = (("ranker.onnx", arrays), ("candidate_scorer.onnx", arrays | encoded))
    return [next(iter(run_graph(folder / name, given).values())) for name, given in graphs]


def serving_arrays(batch):
    return {f"hist_{n}": a for n, a in batch.history.items()} | batch.candidate | batch.user
