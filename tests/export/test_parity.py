"""An export that does not compute what JAX does is refused, by a message that says where and with which inputs."""

import json
import re

import jax
import numpy as np
import pytest

from builders import SCHEMA
from dienjax.export.graphs import graphs
from dienjax.export.parity import (
    TOLERANCE,
    Case,
    cases,
    difference,
    jax_scores,
    largest_difference,
    parity_table,
    worst,
)
from dienjax.export.split_parity import compare_scores, split_text
from dienjax.training.evaluation import Scores
from exporting import MODELS, NAMES, make_run

TITLES = [
    "smallest", "mixed lengths", "one event", "all empty", "T = 0", "B = 0", "ids out of range", "many candidates",
    "one request",
]  # fmt: skip


@pytest.fixture(scope="module")
def ranker(tmp_path_factory):
    """The ranker of a small DIN, and its variables."""
    run = make_run(tmp_path_factory.mktemp("parity") / "run", MODELS["din"])
    variables = run.variables()
    return graphs(run.model, variables, "binary", *jax.export.symbolic_shape("B, T, K"))[0], variables


@pytest.fixture
def case(ranker):
    return next(c for c in cases(SCHEMA, ranker[0].inputs, 5, "int64") if c.title == "mixed lengths")


@pytest.mark.parametrize("ids", ["int64", "int32"])
def test_the_cases(ranker, ids):
    found = {case.title: case for case in cases(SCHEMA, ranker[0].inputs, 5, ids)}
    assert [*found] == TITLES
    sizes = SCHEMA.sizes()
    for case in found.values():
        assert case.arrays.keys() == ranker[0].inputs.keys()
        assert case.arrays["hist_item"].shape == (case.B, case.T) and case.arrays["price"].shape == (case.B, case.K)
        assert {a.dtype.name for a in case.arrays.values()} == {ids, "float32"}
    lengths = {title: (case.arrays["hist_item"] != 0).sum(1).tolist() for title, case in found.items()}
    assert lengths["mixed lengths"] == [7, 3, 0] and lengths["one event"] == [1, 1, 1] and lengths["B = 0"] == []
    assert (found["one request"].B, found["one request"].T, found["one request"].K) == (1, 5, 200)
    for title in set(TITLES) - {"ids out of range"}:
        assert all((found[title].arrays[name] < size).all() for name, size in sizes.items())
    wrong = np.concatenate([found["ids out of range"].arrays[name].ravel() for name in sizes])
    assert (wrong.min() < -1) and (wrong.max() == np.iinfo(ids).max)
    assert (2**40 in wrong) == (2**32 + 2 in wrong) == (ids == "int64")


def test_ids_beyond_int32_are_unknown_to_the_reference(ranker, case):
    graph, variables = ranker
    far, unknown = ({n: a.copy() for n, a in case.arrays.items()} for _ in range(2))
    far["item"][:, 0], unknown["item"][:, 0] = [2**40, -(2**40), 2**32 + 7], 1
    both = [jax_scores(graph, variables, [Case("", case.B, case.T, case.K, arrays)])[0] for arrays in (far, unknown)]
    np.testing.assert_array_equal(*both)
    assert both[0].shape == (3, 2)


def test_a_difference_is_refused_with_its_inputs(ranker, case):
    inputs, want = ranker[0].inputs, [np.full((3, 2), 0.5, np.float32)]

    def table(change, at=(1, 0)):
        got = want[0].copy()
        got[at] += change
        return parity_table([case], inputs, {"ranker": want, "encoder + scorer": [got]}, want)

    lines = table(0.9e-5).splitlines()
    assert lines[0].split() == ["case", "B", "T", "K", "ranker", "encoder", "+", "scorer"]
    assert lines[1].split() == ["mixed", "lengths", "3", "7", "2", "0.0e+00", "9.0e-06"]
    with pytest.raises(ValueError, match=r"encoder \+ scorer, as exported, and JAX differ by 2e-05") as error:
        table(2e-5)
    message = str(error.value)
    assert "case 'mixed lengths' of (B, T, K) = (3, 7, 2); expected at most 1e-05" in message
    assert "At [1, 0] they give 0.50002 and 0.5 for" in message
    for name in ("hist_item", "hist_category"):
        assert f"\n  {name} = {case.arrays[name][1]}\n" in message
    for name in ("item", "category", "slot", "price"):
        assert f"\n  {name} = {case.arrays[name][1, 0]}\n" in message
    assert f"\n  city = {case.arrays['city'][1]}\n" in message
    assert "Check the variables for NaN" in message
    with pytest.raises(ValueError, match=r"differ by nan .*\n?.*At \[2, 1\]"):
        table(np.nan, at=(2, 1))
    with pytest.raises(ValueError, match=r"ranker gives shape \(3, 1\) in the case .* but JAX \(3, 2\)"):
        parity_table([case], inputs, {"ranker": [want[0][:, :1]]}, want)


def test_a_long_history_is_shortened(ranker):
    long = next(c for c in cases(SCHEMA, ranker[0].inputs, 100, "int64") if c.title == "one request")
    want = np.zeros((1, 200), np.float32)
    with pytest.raises(ValueError, match="At") as error:
        parity_table([long], ranker[0].inputs, {"ranker": [want + np.eye(1, 200, 199, np.float32)]}, [want])
    assert "At [0, 199]" in str(error.value)
    assert re.search(r"hist_item = \[[\d ]+\.\.\. [\d ]+\]\n", str(error.value))


def test_differences():
    assert difference(np.array([100.0005]), np.array([100.0]))[0] == pytest.approx(5e-6)
    assert difference(np.array([0.3]), np.array([0.1]))[0] == pytest.approx(0.2)
    assert worst(np.array([[0, 5], [np.nan, 9]])) == (1, 0)
    empty = np.zeros((0, 2))
    assert largest_difference([empty, np.array([[0.5]])], [empty, np.array([[0.25]])]) == 0.25


@pytest.mark.parametrize("name", NAMES)
def test_the_table_stands_beside_the_graphs(exported, name):
    output = "prediction" if name == "agru" else "probability"
    title, _, *lines = (exported / name / "parity.txt").read_text().splitlines()
    assert title == f"largest difference of {output} between onnxruntime and JAX, both with float32 tables"
    assert [line[:18].strip() for line in lines] == TITLES
    assert lines[-1].split()[2:5] == ["1", "5", "200"]
    assert all(float(d) <= TOLERANCE for line in lines for d in line.split()[-2:])


def test_reduced_tables_are_compared_with_float32(exported):
    *table, last = (exported / "large" / "parity.txt").read_text().splitlines()
    assert "both with int8 tables" in table[0] and len(table) == 2 + len(TITLES)
    what, value = last.rsplit(": ", 1)
    assert what == "largest difference of these tables from float32 ones" and TOLERANCE < float(value) < 0.05


def scores(value_NK, label_NK, mask_NK=True):
    value_NK, label_NK = np.float32(value_NK), np.float32(label_NK)
    return Scores(value_NK, label_NK, np.broadcast_to(mask_NK, value_NK.shape), np.arange(len(value_NK)))


LABEL = [[1, 0], [1, 0]]


def test_a_split_is_compared():
    mask = [[True, True], [True, False]]
    want = scores([[0.7, 0.2], [0.1, 0.9]], LABEL, mask)
    got = scores([[0.7, 0.2], [0.1, -5]], LABEL, mask)
    facts = compare_scores(got, want, "binary", exact=True)
    assert facts == {"candidates": 3, "largest_difference": 0.0, "auc": {"jax": 0.5, "onnx": 0.5}}
    text = split_text({"name": "test", "samples": 2, **facts}).splitlines()
    assert text[1:] == [
        "split test: 2 samples, 3 candidates",
        "largest difference of the ranker from JAX with float32 tables: 0.0e+00",
        "AUC: 0.50000 (jax), 0.50000 (onnx)",
    ]


def test_a_split_that_differs_is_refused_unless_its_tables_are_reduced():
    want, got = scores([[0.7, 0.2], [0.4, 0.3]], LABEL), scores([[0.7, 0.2], [0.4, 0.45]], LABEL)
    with pytest.raises(ValueError, match=r"differ by 0.15 on the split.*candidate 1 of row 1 they give 0.45 and 0.3"):
        compare_scores(got, want, "binary", exact=True)
    facts = compare_scores(got, want, "binary", exact=False)
    assert facts["largest_difference"] == pytest.approx(0.15) and facts["auc"] == {"jax": 1.0, "onnx": 0.75}
    with pytest.raises(ValueError, match="differ by nan on the split"):
        compare_scores(scores([[0.7, 0.2], [np.nan, 0.3]], LABEL), want, "binary", exact=True)


def test_an_auc_that_differs_is_refused():
    """Scores alike but for 1e-6 are in another order: 4.5 of 15 pairs. One pair of few may be."""
    want_NK, label = np.full((4, 2), 0.5) + [[1e-6, 0]] * 4, [[1, 0], [1, 0], [1, 0], [0, 0]]
    got_NK = want_NK.copy()
    got_NK[0, 0] -= 2e-6
    got, want = scores(got_NK, label), scores(want_NK, label)
    with pytest.raises(
        ValueError, match=r"the AUC on the split is 0.600000 by ranker \(onnxruntime\) and 0.900000 by JAX"
    ):
        compare_scores(got, want, "binary", exact=True)
    assert compare_scores(got, want, "binary", exact=False)["auc"] == pytest.approx({"jax": 0.9, "onnx": 0.6})
    one, other = scores([[0.5, 0.2], [0.9, 0.500001]], LABEL), scores([[0.500001, 0.2], [0.9, 0.5]], LABEL)
    assert compare_scores(one, other, "binary", exact=True)["auc"] == {"jax": 1.0, "onnx": 0.75}


def test_a_split_of_one_class_or_of_numbers():
    values = scores([[0.5, 3.0]], [[0, 0]])
    facts = compare_scores(values, values, "binary", exact=True)
    assert json.dumps(facts["auc"]) == '{"jax": null, "onnx": null}'
    assert "AUC: undefined (jax)" in split_text({"name": "a", "samples": 1, **facts})
    facts = compare_scores(scores([[0.5, 3.00001]], [[0, 1]]), scores([[0.5, 3.0]], [[0, 1]]), "regression", exact=True)
    assert facts["rmse"]["jax"] == pytest.approx(2.125**0.5)
    assert facts["largest_difference"] == pytest.approx(1e-5 / 3, rel=0.05)
