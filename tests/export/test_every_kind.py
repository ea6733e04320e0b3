"""From a log with every kind of field to served scores: each agrees with what JAX makes of the store's own arrays."""

import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from every_kind import logs, prepared

from builders import EVERY_KIND
from dienjax import Config, Run, explain, predict
from dienjax.export import export_run, load_programs
from dienjax.serving import Ranker
from dienjax.training import checkpoint
from dienjax.training.evaluation import eval_loader, score, store_split
from dienjax.training.prediction_files import predict_file
from dienjax.training.step import make_eval_step
from exporting import SMALL, make_run, random_state

EVENT = ["item", "tags", "site", "price", "dwell", "stars"]
SHOWN = [*EVENT, "places", "rank", "chance"]
USER = ["hobbies", "age"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("kinds"), *logs())


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    config = Config.from_dict({"model": {"name": "DIEN", **SMALL}, "data": {"max_len": 6}})
    run = Run.create(tmp_path_factory.mktemp("kinds") / "run", config, store.schema, store)
    checkpoint.save(run.path, "best", random_state(run), {})
    return run


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    pytest.importorskip("jax2onnx")
    pytest.importorskip("onnxruntime")
    return export_run(run, tmp_path_factory.mktemp("kinds") / "exported", split="test")


@pytest.fixture(scope="module")
def rows(store):
    """The test split in the values of the log, a row for each sample, as Python holds them."""
    log, shown = logs()
    samples, users = store.samples("test"), store.user_values().tolist()
    shown = shown.sort_values(["user", "time"], kind="stable")
    found = []
    for user, time in zip(samples.user_N, samples.candidates.time_N, strict=True):
        past = log[(log.user == users[user]) & (log.time < time)]
        here = shown[(shown.user == users[user]) & (shown.time == time)]
        row = {f"hist_{name}": past[name].tolist() for name in EVENT}
        row |= {name: here[name].tolist() for name in SHOWN}
        row |= {name: log[log.user == users[user]][name].iloc[0] for name in USER}
        found.append({name: without_nan(value) for name, value in row.items()})
    return found


def without_nan(value):
    if isinstance(value, list):
        return [without_nan(v) for v in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def ask(ranker, row):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of long histories
        return ranker.score(
            {name: row[f"hist_{name}"] for name in EVENT},
            {name: row[name] for name in SHOWN},
            {name: row[name] for name in USER},
        )


def flat(lists):
    return np.concatenate([np.asarray(one, float) for one in lists])


def test_the_store_has_every_kind(store):
    schema = store.schema
    assert [(f.name, f.most, f.pool) for f in schema.id_fields] == [
        ("item", 0, "mean"), ("tags", 2, "max"), ("site", 0, "mean"), ("stars", 0, "mean"), ("hobbies", 2, "sum"),
        ("places", 1, "mean"),
    ]  # fmt: skip
    of = {f.name: (f.of, f.scale is None) for f in schema.dense}
    assert of == {
        "price": ("event", False), "dwell": ("event", True), "age": ("user", False), "rank": ("candidate", True),
        "chance": ("candidate", False),
    }  # fmt: skip
    assert schema.table("site").seed == 0 and schema.table("stars").edges


def test_predict_is_what_the_store_gives(store, run, rows):
    """Raw values are encoded as preparation encodes a log."""
    split = store_split(run.config, store, "test")
    scores = score(make_eval_step(run.model), run.variables(), eval_loader(split, 8, 1))
    want_M = 1 / (1 + np.exp(-scores.logit_NK[scores.mask_NK]))
    got = predict(run, pd.DataFrame(rows))
    np.testing.assert_allclose(flat(got["probability"]), want_M, atol=1e-6)
    assert explain(run, pd.DataFrame(rows[:3])).arrays.logit_BK.shape[0] == 3


def test_files_and_tables(run, rows, tmp_path):
    """Lists of lists in Parquet, Arrow and pandas; what Parquet gives back are arrays of arrays."""
    want = flat(predict(run, pd.DataFrame(rows))["probability"])
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "rows.parquet")
    predict_file(run, tmp_path / "rows.parquet", tmp_path / "scored.parquet")
    got = pq.read_table(tmp_path / "scored.parquet")["probability"].to_pylist()
    np.testing.assert_allclose(flat(got), want, atol=1e-6)
    whole = REQUEST | {"site": [1, 7]}  # pandas would make floats of integers beside None
    pq.write_table(pa.Table.from_pylist([whole]), tmp_path / "whole.parquet")
    want_K = predict(run, pd.DataFrame([whole]))["probability"][0]
    np.testing.assert_array_equal(predict(run, pd.read_parquet(tmp_path / "whole.parquet"))["probability"][0], want_K)
    one = pd.DataFrame([{name: v[0] if name in SHOWN else v for name, v in row.items()} for row in rows])
    first = [part[0] for part in predict(run, pd.DataFrame(rows))["probability"]]
    np.testing.assert_allclose(predict(run, one)["probability"], first, atol=1e-6)
    pq.write_table(pa.Table.from_pandas(one), tmp_path / "one.parquet")
    predict_file(run, tmp_path / "one.parquet", tmp_path / "one_scored.parquet")
    np.testing.assert_allclose(pq.read_table(tmp_path / "one_scored.parquet")["probability"], first, atol=1e-6)


def test_a_ranker_agrees_with_predict(run, exported, rows):
    ranker = Ranker(exported)
    want = predict(run, pd.DataFrame(rows))["probability"]
    assert {len(row["hist_item"]) for row in rows} >= {0, 1}
    for row, want_K in zip(rows, want, strict=True):
        np.testing.assert_allclose(ask(ranker, row), want_K, atol=1e-5)
    got = ranker.score_table(pa.Table.from_pylist(rows)).to_pylist()
    np.testing.assert_allclose(flat(got), flat(want), atol=1e-5)


REQUEST = {
    "hist_item": ["i1", "new"], "hist_tags": [["red", "violet"], []], "hist_site": [3, 10**12], "hist_price": [2, None],
    "hist_dwell": [0.5, -1], "hist_stars": [5, None], "item": ["i2", None], "tags": [["blue"], ["violet"]],
    "site": [None, 7.0], "price": [float("nan"), 3.5], "dwell": [1, 2.5], "stars": [-100, float("nan")],
    "places": [["top"], None], "rank": [0.5, 1], "chance": [None, 0.25], "hobbies": [3, 1, 3], "age": 31,
}  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {f"hist_{name}": [] for name in EVENT},
        {"hist_tags": [[], None], "tags": [[], None], "hobbies": []},
        {"hist_tags": [["red", None, "red"], ["blue", "red", "dark", "green"]], "hobbies": [None, 7]},
        {"age": None, "price": [None, None], "hist_price": [None, None]},
        {"age": float("nan"), "hobbies": None},
        {name: [value] for name, value in zip(SHOWN, ["i3", ["dark"], 3, 1, 1, 1, ["x"], 0, 0], strict=True)},
    ],
)
def test_requests(run, exported, changed):
    row = REQUEST | changed
    want = predict(run, pd.DataFrame([row, REQUEST]))["probability"]
    np.testing.assert_allclose(ask(Ranker(exported), row), want[0], atol=1e-5)
    got = Ranker(exported).score_table(pa.Table.from_pylist([row, REQUEST])).to_pylist()
    np.testing.assert_allclose(flat(got), flat(want), atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"tags": ["blue", "red"]}, TypeError, r"candidates\['tags'\]\[0\] is of type str; expected a list"),
        ({"tags": [["blue"], [3]]}, TypeError, r"candidates\['tags'\]\[1\]\[0\] is 3 of type int; the log held text"),
        ({"tags": [["blue"]]}, ValueError, r"candidates\['item'\] has length 2, but candidates\['tags'\] has 1"),
        ({"hist_tags": [[], [["red"]]]}, TypeError, r"history\['tags'\]\[1\]\[0\] is \['red'\] of type list"),
        ({"hobbies": 3}, TypeError, r"user\['hobbies'\] is of type int; expected a list"),
        ({"hobbies": [1, "x"]}, TypeError, r"user\['hobbies'\]\[1\] is 'x' of type str; the log held numbers"),
        ({"price": [1, "2"]}, TypeError, r"candidates\['price'\]\[1\] is '2' of type str; expected a number, or None"),
        ({"hist_price": [1, float("inf")]}, ValueError, r"history\['price'\]\[1\] is inf; expected a finite number"),
        ({"hist_dwell": [1, None]}, TypeError, r"history\['dwell'\]\[1\] is None of type NoneType; expected a number:"),
        ({"dwell": [1, float("nan")]}, ValueError, r"candidates\['dwell'\]\[1\] is nan; expected a finite number"),
        ({"stars": [1, "many"]}, TypeError, r"candidates\['stars'\]\[1\] is 'many' of type str; expected a number"),
        ({"site": [1, float("nan")]}, ValueError, r"candidates\['site'\]\[1\] is nan; give None where it is unknown"),
        ({"site": [1, b"x"]}, TypeError, r"candidates\['site'\]\[1\] is b'x' of type bytes; expected text, a number"),
        ({"age": [31]}, TypeError, r"user\['age'\] is \[31\] of type list; expected a number"),
    ],
)
def test_wrong_values(run, exported, changed, error, message):
    row = REQUEST | changed
    with pytest.raises(error, match=message):
        ask(Ranker(exported), row)
    with pytest.raises(ValueError, match=r"^predict: "):
        predict(run, pd.DataFrame([row]))


def test_an_error_in_a_set_names_its_place(run):
    rows = pd.DataFrame([REQUEST, REQUEST | {"hist_tags": [["red"], ["blue", 3]]}])
    with pytest.raises(ValueError, match="predict: value 1 in set 1 in row 1 of column 'hist_tags' is 3 of type int"):
        predict(run, rows)
    with pytest.raises(ValueError, match="predict: value 1 in row 0 of column 'hobbies' is 'x' of type str"):
        predict(run, pd.DataFrame([REQUEST | {"hobbies": [1, "x"]}]))


@pytest.mark.parametrize("options", [{"tables": "int8", "ids": "int32"}, {"form": "stablehlo"}])
@pytest.mark.slow
def test_other_exports(run, rows, options, tmp_path):
    """An export is compared with JAX before it is there."""
    pytest.importorskip("jax2onnx")
    folder = export_run(run, tmp_path / "exported", **options)
    assert "one request" in (folder / "parity.txt").read_text()
    if "form" in options:
        assert load_programs(folder)
    else:
        want = predict(run, pd.DataFrame(rows))["probability"]
        np.testing.assert_allclose(ask(Ranker(folder), rows[0]), want[0], atol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("model", [{"name": "DIN"}, {"name": "DIEN", "fields": "separate", "auxiliary": "inner"}])
def test_ready_made_ids(model, tmp_path):
    """Sets as ids, padded or not."""
    pytest.importorskip("jax2onnx")
    run = make_run(tmp_path / "run", model, EVERY_KIND)
    row = {
        "hist_item": [5, 6], "hist_tags": [[3, 3], [0, 4, 2]], "hist_marks": [[], [7]], "hist_price": [1, None],
        "hist_dwell": [1, 2], "item": [7, 99], "tags": [[99], [2, 3, 4]], "marks": [[1], None], "price": [None, 2],
        "dwell": [3, 4], "slot": [[1], []], "rank": [1, 2], "hobbies": [2, 0], "age": None,
    }  # fmt: skip
    want = predict(run, pd.DataFrame([row]))["probability"][0]
    ranker = Ranker(export_run(run, tmp_path / "exported"))
    event = ["item", "tags", "marks", "price", "dwell"]
    history, candidates = {n: row[f"hist_{n}"] for n in event}, {n: row[n] for n in [*event, "slot", "rank"]}
    got = ranker.score(history, candidates, {"hobbies": row["hobbies"], "age": None})
    np.testing.assert_allclose(got, want, atol=1e-5)
