"""What onnxruntime computes from the graphs is what the model computes, on every shape and for every id."""

import json

import jax
import numpy as np
import pytest

from builders import make_batch
from dienjax import Config, Run, Schema
from exporting import INT32, LARGE, NAMES, PLAIN, both_scores, open_session, run_graph, serving_arrays

GRAPHS = ("ranker.onnx", "user_encoder.onnx", "candidate_scorer.onnx")
IDS = ("hist_item", "hist_category", "item", "category", "slot", "city")


def batch_for(run, *args, **kwargs):
    batch = make_batch(*args, **kwargs, negatives=False)
    if run.schema.sparse:
        return batch
    names = [b.name for b in run.schema.behaviours]
    history, candidate = ({name: arrays[name] for name in names} for arrays in (batch.history, batch.candidate))
    return batch.replace(user={}, history=history, candidate=candidate)


def assert_agrees(folder, run, batch, tolerance=1e-5):
    """Both ways of scoring give what `model.apply` gives."""
    want_BK = jax.jit(run.model.apply)(run.variables(), batch).logit_BK
    if run.config.loss.task == "binary":
        want_BK = jax.nn.sigmoid(want_BK)
    for got_BK in both_scores(folder, serving_arrays(batch)):
        # The model saw the batch's own masks; a masked candidate's number means nothing to it.
        got, want = got_BK[batch.mask_BK], np.asarray(want_BK)[batch.mask_BK]
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
        assert len(want) == 1 or np.ptp(want) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_onnxruntime_agrees_with_the_model_itself(exported, name):
    run = Run.open(exported / f"run_{name}")
    assert_agrees(exported / name, run, batch_for(run, (0, 1, 6, 3), T=6, K=4))


@pytest.mark.parametrize(("B", "T", "K"), [(1, 1, 1), (4, 1, 3), (2, 30, 50)])
def test_b_t_and_k_are_dynamic(exported, B, T, K):
    run = Run.open(exported / "run_augru")
    assert_agrees(exported / "augru", run, batch_for(run, [T] * B, T=T, K=K))


def test_large_tables_stand_beside_the_graphs_once(exported):
    run, folder, item = Run.open(exported / "run_large"), exported / "large", LARGE.tables[0]
    assert_agrees(folder, run, batch_for(run, (0, 1, 6, 3), T=6, K=4), tolerance=0.02)  # int8 beside float32
    sizes = {file.name: file.stat().st_size for file in folder.iterdir() if file.is_file()}
    assert item.size * item.dim <= sizes["tables.data"] < 1.01 * item.size * item.dim
    assert all(sizes[name] < 500_000 for name in GRAPHS)  # a scale for each row is inside
    assert "tables.data" in json.loads((folder / "export.json").read_text())["files"]
    assert not (exported / "din" / "tables.data").exists()


@pytest.mark.parametrize(("name", "ids"), [("augru", "int64"), ("agru", "int32")])
def test_inputs_and_outputs_are_named_by_the_schema(exported, name, ids):
    ids = f"tensor({ids})"
    of_user = {
        "hist_item": (["B", "T"], ids),
        "hist_category": (["B", "T"], ids),
        "city": (["B"], ids),
        "age": (["B"], "tensor(float)"),
    }
    of_candidates = {n: (["B", "K"], ids) for n in ("item", "category", "slot")} | {
        "price": (["B", "K"], "tensor(float)")
    }
    encoded = {"interest_states": "tensor(float)", "history_mask": "tensor(bool)", "user_vector": "tensor(float)"}
    inputs, outputs = (
        [{v.name: (v.shape, v.type) for v in getattr(open_session(exported / name / g), which)()} for g in GRAPHS]
        for which in ("get_inputs", "get_outputs")
    )
    score = {"prediction" if name == "agru" else "probability": (["B", "K"], "tensor(float)")}
    assert inputs[:2] == [of_user | of_candidates, of_user]
    assert {n: type for n, (_, type) in inputs[2].items() if n not in of_candidates} == encoded
    assert {n: value for n, value in inputs[2].items() if n in of_candidates} == of_candidates
    assert [outputs[0], outputs[2]] == [score, score]
    assert {n: type for n, (_, type) in outputs[1].items()} == encoded


@pytest.mark.parametrize("name", ["din", "augru", "agru"])
def test_an_id_outside_its_table_is_the_unknown_id(exported, name):
    limits = np.iinfo("int32" if name in INT32 else "int64")
    bad_ids = [-1, 99, limits.min, limits.max] + [2**31, 2**32 + 5, 2**40] * (limits.bits == 64)
    arrays = {n: a.astype(limits.dtype) if n in IDS else a for n, a in serving_arrays(make_batch((3, 4), K=2)).items()}
    for field in IDS:
        first = (0,) * arrays[field].ndim
        unknown = {n: a.copy() for n, a in arrays.items()}
        unknown[field][first] = 1
        want = both_scores(exported / name, unknown)
        for bad in bad_ids:
            wrong = {n: a.copy() for n, a in arrays.items()}
            wrong[field][first] = bad
            np.testing.assert_array_equal(both_scores(exported / name, wrong), want)
        known = [both_scores(exported / name, arrays)[0], want[0]]
        assert np.abs(np.subtract(*known)).max() > 1e-4, f"{field} matters"


@pytest.mark.parametrize("name", NAMES)
def test_axes_may_be_empty(exported, name):
    run, folder = Run.open(exported / f"run_{name}"), exported / name
    empty = serving_arrays(batch_for(run, (0, 0, 0), T=3, K=2))
    want = both_scores(folder, empty)
    without_slots = {n: a[:, :0] if n.startswith("hist_") else a for n, a in empty.items()}
    assert np.isfinite(want).all()
    np.testing.assert_allclose(both_scores(folder, without_slots), want, rtol=1e-6)
    inputs = serving_arrays(batch_for(run, (2, 3), T=3, K=2))
    of_candidates = batch_for(run).candidate.keys()
    for T in (0, 3):
        none = {n: a[:0, :T] if n.startswith("hist_") else a[:0] for n, a in inputs.items()}
        assert [s.shape for s in both_scores(folder, none)] == [(0, 2)] * 2
    no_candidates = {n: a[:, :0] if n in of_candidates else a for n, a in inputs.items()}
    assert [s.shape for s in both_scores(folder, no_candidates)] == [(2, 0)] * 2


@pytest.mark.parametrize("name", NAMES)
def test_more_padding_changes_nothing(exported, name):
    run = Run.open(exported / f"run_{name}")
    arrays = serving_arrays(batch_for(run, (0, 1, 3), T=3, K=2))
    longer = {n: np.pad(a, ((0, 0), (0, 4))) if n.startswith("hist_") else a for n, a in arrays.items()}
    got, padded = (both_scores(exported / name, a) for a in (arrays, longer))
    np.testing.assert_allclose(got, padded, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_graph_says_what_it_is(exported, graph):
    meta = open_session(exported / "augru" / graph).get_modelmeta().custom_metadata_map
    run = Run.open(exported / "run_augru")
    values = {name.removeprefix("dienjax."): value for name, value in meta.items()}
    assert values.pop("schema_hash") == run.schema.hash
    values = {name: json.loads(value) for name, value in values.items()}
    assert Schema.from_json(values["schema"]) == run.schema
    assert Config.from_dict(values["config"]) == run.config
    assert values["checkpoint"] == {"kind": "best", "step": 30}
    assert values["versions"].keys() == {"dienjax", "jax", "flax", "jax2onnx"}
    assert (values["task"], values["max_len"], values["ids"], values["tables"]) == ("binary", 5, "int64", "float32")
    assert values["validation"] is None


@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_a_graph_is_unused(exported, name):
    """onnxruntime warns of every initializer that nothing reads. Gates that do not read the state need no product."""
    import onnx

    def check(graph, outer=frozenset()):
        bodies = [a.g for node in graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
        used = {name for node in graph.node for name in node.input} | {o.name for o in graph.output}
        used |= {name for body in bodies for name in check(body)}
        assert {i.name for i in graph.initializer} <= used
        return used

    for graph in GRAPHS:
        check(onnx.load(exported / name / graph).graph)
    bodies = [n for n in onnx.load(exported / name / "ranker.onnx").graph.node if n.op_type in ("Loop", "Scan")]
    assert len(bodies) == (0 if name.startswith("din") else 2)
    if name == "min":
        operators = [node.op_type for scan in bodies for a in scan.attribute for node in a.g.node]
        assert operators.count("Mul") == 3 and not {"MatMul", "Einsum", "Gemm", "Where", "Expand"} & {*operators}


def test_a_model_without_features_has_no_user_vector(exported):
    assert Run.open(exported / "run_din_softmax").schema.field_names == PLAIN.field_names
    item = np.ones((1, 2), np.int64)
    assert run_graph(exported / "din_softmax" / "user_encoder.onnx", {"hist_item": item}).keys() == {
        "interest_states", "history_mask",
    }  # fmt: skip
