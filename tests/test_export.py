"""What onnxruntime computes from the exported file is what JAX computes, or there is no file."""

import functools
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders import SCHEMA, make_batch, randomised
from dienjax import checkpoint, export
from dienjax.config import Config
from dienjax.run import Run
from dienjax.schema import Behaviour, Dense, Schema, Sparse, Table

SMALL = {"attention_hidden": (8, 4), "tower": (6,)}
MODELS = {
    "din": {"name": "DIN", "batch_norm": True},
    "din_softmax": {"name": "DIN", "softmax": True},
    "augru": {"name": "DIEN", "dim": 2},
    "augru_author": {"name": "DIEN", "gate": "author", "attention": "bilinear", "state": 7},
    "agru": {"name": "DIEN", "kind": "AGRU", "softmax": False, "attention_activation": "prelu"},
    "aigru": {"name": "DIEN", "kind": "AIGRU", "gate": "author"},
    "gru": {"name": "DIEN", "kind": "GRU", "attention": "bilinear", "tower_activation": "relu"},
}


PLAIN = Schema(SCHEMA.tables[:1], SCHEMA.behaviours[:1])
"""No feature of the user or the candidates: arrays of width 0, which ONNX cannot reshape."""
SCHEMAS = {"din_softmax": PLAIN, "aigru": PLAIN}


def make_run(path, model, schema=SCHEMA, task="binary"):
    """A run folder with a checkpoint of random variables (no bias 0, no variance 1), without training."""
    config = Config.from_dict({"model": {**SMALL, **model}, "loss": {"task": task}, "data": {"max_len": 5}})
    run = Run.create(path, config, schema)
    shapes = jax.eval_shape(lambda: run.initial_state(run.optimizer()))
    state = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 30, leaf.dtype), shapes)
    params, batch_stats = (jax.tree.map(jnp.asarray, randomised(x)) for x in (state.params, state.batch_stats))
    checkpoint.save(run.path, "best", state.replace(params=params, batch_stats=batch_stats), {})
    return run


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Every model's folder with ranker.onnx, made by one process that is not this one: jax2onnx leaves traces."""
    pytest.importorskip("jax2onnx")
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("export")
    for name, model in MODELS.items():
        task = "regression" if name == "agru" else "binary"
        make_run(folder / f"run_{name}", model, SCHEMAS.get(name, SCHEMA), task)
        (folder / name).mkdir()
    script = (
        "import sys; from pathlib import Path; from dienjax.export import convert; from dienjax.run import Run\n"
        "assert not {'onnx', 'onnxruntime', 'jax2onnx'} & set(sys.modules), 'imported at the top'\n"
        "for name in sys.argv[2:]: convert(Run.open(f'{sys.argv[1]}/run_{name}'), Path(sys.argv[1], name))"
    )
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", script, folder, *MODELS], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


@functools.cache
def open_session(folder):
    import onnxruntime

    return onnxruntime.InferenceSession(str(folder / "ranker.onnx"), providers=["CPUExecutionProvider"])


def run_onnx(folder, arrays):
    session = open_session(folder)
    return session, session.run(None, arrays)[0]


def serving_arrays(batch):
    return {f"hist_{n}": a for n, a in batch.history.items()} | batch.candidate | batch.user


@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_agrees_with_the_model_itself(exported, name):
    run = Run.open(exported / f"run_{name}")
    batch = make_batch((0, 1, 6, 3), T=6, K=4, negatives=False)
    if run.schema.sparse == ():
        batch = batch.replace(
            user={}, history={"item": batch.history["item"]}, candidate={"item": batch.candidate["item"]}
        )
    session, got_BK = run_onnx(exported / name, serving_arrays(batch))
    logit_BK = jax.jit(run.model.apply)(run.variables(), batch).logit_BK
    regression = run.config.loss.task == "regression"
    want_BK = logit_BK if regression else jax.nn.sigmoid(logit_BK)
    # The model saw the batch's own masks; a masked candidate's number means nothing to it.
    np.testing.assert_allclose(got_BK[batch.mask_BK], want_BK[batch.mask_BK], rtol=1e-5, atol=1e-5)
    assert np.ptp(got_BK) > 1e-3
    output = session.get_outputs()[0]
    assert (output.name, output.shape) == ("prediction" if regression else "probability", ["B", "K"])


@pytest.mark.parametrize(("B", "T", "K"), [(1, 1, 1), (4, 1, 3), (2, 30, 50)])
def test_b_t_and_k_are_dynamic(exported, B, T, K):
    run = Run.open(exported / "run_augru")
    arrays = serving_arrays(make_batch([T] * B, T=T, K=K))
    want_BK = jax.jit(export.ranker(run.model, run.schema))(run.variables(), arrays)
    np.testing.assert_allclose(run_onnx(exported / "augru", arrays)[1], want_BK, atol=1e-5)


def test_inputs_are_named_by_the_schema(exported):
    session, _ = run_onnx(exported / "augru", serving_arrays(make_batch()))
    assert {i.name: (i.shape, i.type) for i in session.get_inputs()} == {
        "hist_item": (["B", "T"], "tensor(int32)"),
        "hist_category": (["B", "T"], "tensor(int32)"),
        "item": (["B", "K"], "tensor(int32)"),
        "category": (["B", "K"], "tensor(int32)"),
        "slot": (["B", "K"], "tensor(int32)"),
        "price": (["B", "K"], "tensor(float)"),
        "city": (["B"], "tensor(int32)"),
        "age": (["B"], "tensor(float)"),
    }


@pytest.mark.parametrize("name", ["din", "augru"])
def test_an_id_outside_its_table_is_the_unknown_id(exported, name):
    arrays = serving_arrays(make_batch((3, 4), T=4, K=2))
    for field in ("hist_item", "hist_category", "item", "category", "slot", "city"):
        for bad in (-1, 99, np.iinfo(np.int32).min, np.iinfo(np.int32).max):
            first = (0,) * arrays[field].ndim
            wrong, unknown = ({n: a.copy() for n, a in arrays.items()} for _ in range(2))
            wrong[field][first], unknown[field][first] = bad, 1
            np.testing.assert_array_equal(*(run_onnx(exported / name, a)[1] for a in (wrong, unknown)))


def test_an_empty_history_is_finite_and_more_padding_changes_nothing(exported):
    arrays = serving_arrays(make_batch((0, 0), T=3, K=2))
    longer = {n: np.pad(a, ((0, 0), (0, 4))) if n.startswith("hist_") else a for n, a in arrays.items()}
    got, padded = (run_onnx(exported / "augru", a)[1] for a in (arrays, longer))
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, padded, rtol=1e-6)


def test_the_file_says_what_it_is(exported):
    session, _ = run_onnx(exported / "augru", serving_arrays(make_batch()))
    run = Run.open(exported / "run_augru")
    meta = session.get_modelmeta().custom_metadata_map
    assert Schema.from_json(json.loads(meta["dienjax.schema"])) == run.schema
    assert Config.from_dict(json.loads(meta["dienjax.config"])) == run.config
    assert meta["dienjax.schema_hash"] == run.schema.hash
    assert json.loads(meta["dienjax.checkpoint"]) == {"kind": "best", "step": 30}
    assert json.loads(meta["dienjax.versions"]).keys() == {"dienjax", "jax", "flax", "jax2onnx"}
    assert json.loads(meta["dienjax.validation"]) is None


def test_no_initializer_of_a_loop_body_is_unused(exported):
    import onnx

    loops = 0
    for node in onnx.load(exported / "augru" / "ranker.onnx").graph.node:
        for body in (a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH):
            loops += 1
            used = {name for inner in body.node for name in inner.input} | {o.name for o in body.output}
            assert {i.name for i in body.initializer} <= used
    assert loops == 2


def test_parity_table_stands_beside_the_file(exported):
    lines = (exported / "gru" / "parity.txt").read_text().splitlines()
    assert [line[:18].strip() for line in lines[2:]] == [
        "smallest", "mixed lengths", "length 1", "all empty", "ids out of range", "one request"
    ]  # fmt: skip
    assert lines[-1].split()[2:5] == ["1", "5", "200"]
    assert all(float(line.split()[-1]) <= export.TOLERANCE for line in lines[2:])


def test_export_writes_the_folder_once(tmp_path):
    pytest.importorskip("jax2onnx")
    run = make_run(tmp_path / "run", MODELS["din"])
    run.path.joinpath("metrics.jsonl").write_text('{"kind": "valid", "step": 30, "auc": 0.75}\n')
    path = export.export_onnx(run, tmp_path / "out")
    assert path == tmp_path / "out" / "ranker.onnx"
    assert sorted(p.name for p in path.parent.iterdir()) == ["parity.txt", "ranker.onnx"]
    session, _ = run_onnx(path.parent, serving_arrays(make_batch()))
    assert json.loads(session.get_modelmeta().custom_metadata_map["dienjax.validation"])["auc"] == 0.75
    with pytest.raises(FileExistsError, match="already exists"):
        export.export_onnx(run, tmp_path / "out")


def test_a_failure_comes_back_readable_and_leaves_nothing(tmp_path):
    pytest.importorskip("jax2onnx")
    run = Run.create(tmp_path / "run", Config.from_dict({"model": MODELS["din"]}), SCHEMA)
    with pytest.raises(
        RuntimeError, match=r"exporting .*run to ONNX failed: FileNotFoundError: no whole 'last'"
    ) as error:
        export.export_onnx(run, tmp_path / "out")
    assert "Traceback" in error.value.__notes__[0]
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_process_that_dies_is_reported(tmp_path, monkeypatch):
    pytest.importorskip("jax2onnx")
    run = Run.create(tmp_path / "run", Config.from_dict({"model": MODELS["din"]}), SCHEMA)
    dead = subprocess.CompletedProcess([], -9, stdout="", stderr="a last word")
    monkeypatch.setattr(export.subprocess, "run", lambda *_, **__: dead)
    with pytest.raises(RuntimeError, match=r"(?s)ended with code -9.*a last word"):
        export.export_onnx(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["jax2onnx", "onnx", "onnxruntime"])
def test_a_missing_extra_says_what_to_install(tmp_path, monkeypatch, missing):
    run = Run.create(tmp_path / "run", Config.from_dict({"model": MODELS["din"]}), SCHEMA)
    found = export.importlib.util.find_spec
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None if name == missing else found("json"))
    with pytest.raises(ModuleNotFoundError, match=rf"needs {missing}.*pip install 'dienjax\[onnx\]'"):
        export.export_onnx(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_parity_refuses_a_difference():
    cases, zeros = [("a title", 3, 7, 2)], [np.zeros((3, 2))]
    export._parity(cases, [zeros[0] + 0.9e-5], zeros, "probability")
    with pytest.raises(ValueError, match=r"differ by 2e-05 in probability at \(B, T, K\) = \(3, 7, 2\) \(a title\)"):
        export._parity(cases, [zeros[0] + 2e-5], zeros, "probability")
    with pytest.raises(ValueError, match="differ by nan"):
        export._parity(cases, [zeros[0] + np.nan], zeros, "probability")
    export._parity(cases, [zeros[0] + 100.0005], [zeros[0] + 100], "prediction")


def test_large_tables_go_beside_the_file(tmp_path):
    onnx_ir = pytest.importorskip("onnx_ir")
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    table = onnx.numpy_helper.from_array(np.ones((300_000,), np.float32), "table")
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [300_000])
    node = onnx.helper.make_node("Add", ["x", "table"], ["y"])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [300_000])
    graph, opset = onnx.helper.make_graph([node], "g", [x], [y], [table]), onnx.helper.make_opsetid("", export.OPSET)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
    for largest, names in ((10**9, ["one.onnx"]), (10**6, ["one.onnx", "one.onnx.data"])):
        folder = tmp_path / str(largest)
        folder.mkdir()
        export._save(onnx_ir.from_proto(model), folder / "one.onnx", largest)
        assert sorted(p.name for p in folder.iterdir()) == names
        moved = folder.rename(tmp_path / f"moved_{largest}")
        session = onnxruntime.InferenceSession(str(moved / "one.onnx"), providers=["CPUExecutionProvider"])
        assert session.run(None, {"x": np.full(300_000, 2, np.float32)})[0].tolist() == [3.0] * 300_000


@pytest.mark.parametrize(
    "fields",
    [{"sparse": (Sparse("hist_item", "item"),)}, {"dense": (Dense("probability"),)}, {"dense": (Dense("prediction"),)}],
)
def test_names_that_meet_are_refused(fields):
    schema = Schema((Table("item", 5, 2),), (Behaviour("item"),), **fields)
    with pytest.raises(ValueError, match="would stand for two inputs or outputs"):
        export.ranker_inputs(schema, 1, 1, 1)


def test_the_ranker_names_what_it_misses():
    serve = export.ranker(Config.from_dict({"model": MODELS["din"]}).model.build(SCHEMA), SCHEMA)
    with pytest.raises(ValueError, match=r"expected .*'hist_item'"):
        serve({}, {"item": np.ones((1, 1), np.int32)})
