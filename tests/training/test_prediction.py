import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dienjax import (
    Config,
    DataConfig,
    Dense,
    FitConfig,
    ModelConfig,
    PaddedArrays,
    Run,
    Schema,
    Sparse,
    Table,
    fit,
    predict,
    prepare,
)  # fmt: skip
from dienjax.data.drift import DriftWorld
from dienjax.schema import Behaviour
from dienjax.storage.manifest import manifest_of
from dienjax.training.evaluation import eval_loader, score, store_split
from dienjax.training.metrics import evaluate_scores
from dienjax.training.prediction import _loader, few_lengths
from dienjax.training.prediction_files import predict_file
from dienjax.training.step import make_eval_step

BIG = 2**53


def raw_rows(store, split="test"):
    """A split in the values of the log: histories, and both candidates as lists."""
    samples = store.samples(split)
    values = {name: store.vocabulary(name).set_index("id")["value"] for name in ("item", "category")}
    rows = []
    for i, (user, end) in enumerate(zip(samples.user_N, samples.end_N, strict=True)):
        row = {}
        for name, column in store.events.items():
            row[f"hist_{name}"] = values[name].reindex(column[store.offsets[user] : end]).fillna(-1).tolist()
            row[name] = values[name].reindex(samples.candidates.field[name].reshape(-1, 2)[i]).fillna(-1).tolist()
        rows.append(row)
    return pd.DataFrame(rows)


def metrics(probability_M, label_M):
    logit_M = np.log(probability_M) - np.log1p(-probability_M)
    return evaluate_scores(logit_M, label_M, np.zeros(len(label_M)))


def table(rows, longest, most):
    """Histories of 0 to `longest` events, and 1 to `most` candidates."""
    rng = np.random.default_rng(0)
    history, candidates = np.arange(rows) % (longest + 1), 1 + np.arange(rows) % most
    history[0], candidates[0] = longest, most
    frame = pd.DataFrame({"hist_item": [rng.integers(0, 60, n).tolist() for n in history]})
    frame["item"] = [rng.integers(0, 60, n).tolist() for n in candidates]
    frame["hist_category"], frame["category"] = ([[i % 6 for i in r] for r in frame[c]] for c in ("hist_item", "item"))
    return frame


def test_a_second_call_compiles_nothing(run, compilations):
    predict(run, table(8, 8, 32))
    before = len(compilations)
    for rows, longest, most in [(8, 8, 32), (5, 7, 20), (6, 5, 17)]:
        predict(run, table(rows, longest, most))
        predict(run.path, table(rows, longest, most))
    assert len(compilations) == before
    predict(run, table(8, 8, 33))
    assert len(compilations) == before + 1


def test_rows_together_are_as_rows_alone_and_as_they_are_without_padding(run, monkeypatch):
    frame = table(9, 11, 5)
    together = predict(run, frame)["probability"]
    for row in (0, 4):
        alone = predict(run, frame.iloc[[row]])["probability"].iloc[0]
        np.testing.assert_allclose(together.iloc[row], alone, atol=1e-6)
    monkeypatch.setattr("dienjax.training.prediction.MANY", 0)
    np.testing.assert_allclose(np.concatenate(together), np.concatenate(predict(run, frame)["probability"]), atol=1e-6)


@pytest.mark.parametrize(
    ("lengths", "longest", "expected"),
    [
        (8, 1, (1,)),
        (8, 9, (1, 2, 4, 8, 16)),
        (3, 40, (16, 32, 50)),
        (1, 33, (50,)),
        ((50,), 3, (50,)),
        ((5, 12), 12, (5, 12)),
        ((5, 12), 13, (5, 12, 16)),
    ],
)
def test_histories_fall_on_few_lengths(lengths, longest, expected):
    assert few_lengths(DataConfig(max_len=50, lengths=lengths), longest) == expected


def test_padding_that_is_not_masked_stays_as_it_is(run):
    data = replace(run.config.data, lengths=1)
    arrays = {"item": [5, 6], "category": [2, 3], "hist_item": [[5, 6, 7]] * 2, "hist_category": [[2, 3, 4]] * 2}
    for padding, lengths in (("torch_rechub", (3,)), ("masked", (4,))):
        config = replace(run.config, model=ModelConfig("DIN", 4, {"padding": padding}), data=data)
        loader = _loader(Run(run.path, config, run.schema), PaddedArrays(run.schema, arrays))
        assert loader.lengths == lengths and loader.batch_size == 2


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_probabilities_are_scaled_where_asked(run, drift_store, tmp_path, monkeypatch, method):
    """A model that is far too sure of what the history holds."""

    def eval_step(variables, batch):
        seen_BK = (batch.candidate["category"][:, :, None] == batch.history["category"][:, None]).sum(axis=-1)
        return 3.0 * seen_BK + 1 + batch.candidate["item"] / 100

    monkeypatch.setattr("dienjax.training.prediction.eval_step", lambda model: eval_step)
    frame, label_M = raw_rows(drift_store, "valid"), drift_store.samples("valid").candidates.label_C
    wrong, scaled = (
        metrics(np.concatenate(predict(run, frame, calibrate)["probability"].tolist()), label_M)
        for calibrate in (None, method)
    )
    assert scaled["logloss"] < wrong["logloss"] and scaled["calibration"] == pytest.approx(1, abs=0.03)
    assert abs(wrong["calibration"] - 1) > 0.1
    if method == "platt":
        assert scaled["auc"] == pytest.approx(wrong["auc"], abs=1e-9)

    shutil.copytree(run.path, tmp_path / "run")
    (tmp_path / "run/store.json").write_text('{"path": "/nowhere/at/all"}')
    with pytest.raises(FileNotFoundError, match="name it with --store"):
        predict(tmp_path / "run", frame, method)
    moved = predict(tmp_path / "run", frame, method, drift_store.path)
    pd.testing.assert_frame_equal(moved, predict(run, frame, method))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: replace(c, loss=replace(c.loss, task="regression")), "is a regression; its predictions are no"),
        (lambda c: replace(c, data=replace(c.data, valid="")), "trained without a validation split"),
    ],
)
def test_runs_that_cannot_be_calibrated(run, drift_store, change, message):
    with pytest.raises(ValueError, match=f"calibrate: .*{message}"):
        predict(replace(run, config=change(run.config)), raw_rows(drift_store), "platt")
    with pytest.raises(ValueError, match="calibrate is 'plat'; expected 'platt' or 'isotonic'"):
        predict(run, raw_rows(drift_store), "plat")
    with pytest.raises(ValueError, match="only `calibrate` reads the store"):
        predict(run, raw_rows(drift_store), store=drift_store)


def test_a_damaged_store_is_refused(run, drift_store, tmp_path):
    shutil.copytree(drift_store.path, tmp_path / "store")
    labels = tmp_path / "store/splits/valid/label.npy"
    data = bytearray(labels.read_bytes())
    data[-1] ^= 1
    labels.write_bytes(data)
    with pytest.raises(ValueError, match=r"damaged: splits/valid/label\.npy is not what was written"):
        predict(run, raw_rows(drift_store), "isotonic", tmp_path / "store")


def test_another_store_is_refused(run, drift_store, tmp_path):
    log = DriftWorld(users=50, events_min=2, events_max=9, categories=6, items=20).log()
    other = prepare(log, tmp_path / "store", user="user", item="item", time="time", attributes=["category"])
    with pytest.raises(ValueError, match="does not fit the run"):
        predict(run, raw_rows(drift_store), "platt", other)


def test_raw_values_give_the_probabilities_of_the_split(run, drift_store):
    loader = eval_loader(store_split(run.config, drift_store, "test"), 64, (4,))
    expected = score(make_eval_step(run.model), run.variables(), loader)
    got = predict(run, raw_rows(drift_store))
    np.testing.assert_allclose(np.stack(got["probability"]), 1 / (1 + np.exp(-expected.logit_NK)), atol=1e-6)


def test_one_candidate_a_row_is_a_number(run, drift_store):
    lists = raw_rows(drift_store)
    single = lists.assign(item=lists["item"].str[1], category=lists["category"].str[1])
    both = np.stack(predict(run, lists)["probability"])
    np.testing.assert_allclose(predict(run, single)["probability"], both[:, 1], atol=1e-6)


def test_awkward_rows(run):
    frame = pd.DataFrame(
        {
            "hist_item": [[], None, [3] * 200, [10**9, 3]],
            "hist_category": [[], None, [0] * 200, [0, 0]],
            "item": [[3], [3, 4, 5], [3], [10**9]],
            "category": [[0], [0, 0, 0], [0], [0]],
        }
    )
    got = predict(run, frame)["probability"]
    assert [len(row) for row in got] == [1, 3, 1, 1]
    assert np.isfinite(np.concatenate(got)).all()
    recent = frame.iloc[[2]].assign(hist_item=[[3] * 50], hist_category=[[0] * 50])
    np.testing.assert_allclose(predict(run, recent)["probability"].iloc[0], got[2], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.rename(columns={"hist_item": "hist_itm"}), "'hist_item' is missing; did you mean 'hist_itm'"),
        (lambda f: f.assign(item="3"), "row 0 of column 'item' is '3' of type str; the log held numbers such as"),
        (lambda f: f.assign(item=True), "row 0 of column 'item' is True of type bool"),
        (lambda f: f.assign(hist_item=[[3, np.nan]]), "value 1 in row 0 of column 'hist_item' is nan; give None"),
        (lambda f: f.assign(hist_item="34"), "column 'hist_item' holds large_string; expected a list"),
        (lambda f: f.assign(hist_category=[[0]]), r"do not hold equally many values in every row \(row 0: 1 and 2\)"),
        (lambda f: f.assign(item=[[3, 4]], category=[[0]]), "expected one value of each for all candidates of a row"),
        (lambda f: f.assign(item=[[3, 4]]), "column 'category' holds int64; expected a list of values in every row"),
        (lambda f: f.assign(category=[[0]]), r"row 0 of column 'category' is \[0\] of type list"),
        (lambda f: f.assign(item=[[]], category=[[]]), "row 0 of column 'item' has no candidate"),
        (lambda f: f.iloc[:0], "no rows"),
    ],
)
def test_bad_tables(run, change, message):
    frame = pd.DataFrame({"hist_item": [[3, 4]], "hist_category": [[0, 0]], "item": [3], "category": [0]})
    with pytest.raises(ValueError, match=message):
        predict(run, change(frame))


def test_what_is_no_table(run):
    with pytest.raises(TypeError, match="of type dict; expected a pandas DataFrame"):
        predict(run, {"item": [3]})


def test_ids_of_64_bits_beside_missing_ones(run, drift_store, tmp_path):
    """One null made floats of a column, and of all its ids others that floats can hold."""
    rows = raw_rows(drift_store).map(lambda values: [int(value) for value in values])
    rows.at[0, "hist_item"] = [None] * len(rows.at[0, "hist_item"])
    rows.at[0, "item"] = [None, rows.at[0, "item"][1]]
    big = rows.copy()
    for name in ("hist_item", "item"):
        big[name] = rows[name].map(lambda ids: [None if i is None else i + BIG for i in ids])
    shutil.copytree(run.path, tmp_path / "run")
    vocabulary = run.vocabulary("item")
    with manifest_of(tmp_path / "run"):
        vocabulary.assign(value=vocabulary["value"] + BIG).to_parquet(tmp_path / "run/vocab/item.parquet")
    expected = np.stack(predict(run, rows)["probability"])
    np.testing.assert_array_equal(np.stack(predict(tmp_path / "run", big)["probability"]), expected)

    columns = {name: pa.array(big[name].tolist()) for name in big}
    pq.write_table(pa.table(columns), tmp_path / "lists.parquet")
    predict_file(tmp_path / "run", tmp_path / "lists.parquet", tmp_path / "out.parquet")
    got = np.stack(pd.read_parquet(tmp_path / "out.parquet")["probability"])
    np.testing.assert_allclose(got, expected, atol=1e-6)  # in other shapes
    assert pq.read_table(tmp_path / "out.parquet").drop_columns("probability").equals(pa.table(columns))

    first = pd.array([ids[0] for ids in big["item"]], "Int64")  # `.str[0]` makes floats of them
    single = big.assign(item=first, category=big["category"].str[0])
    single.to_parquet(tmp_path / "single.parquet")
    predict_file(tmp_path / "run", tmp_path / "single.parquet", tmp_path / "out.parquet", force=True)
    for got in (predict(tmp_path / "run", single), pd.read_parquet(tmp_path / "out.parquet")):
        np.testing.assert_allclose(got["probability"], expected[:, 0], atol=1e-6)
    assert pd.read_parquet(tmp_path / "out.parquet")["item"].equals(single["item"])
    with pytest.raises(ValueError, match=r"row 1 of column 'item' is .*; a float .* give an int"):
        predict(tmp_path / "run", single.assign(item=single["item"].astype(float)))


def test_ready_made_ids_with_profile_and_dense_features(tmp_path):
    """The four users of DeepCTR-Torch's DIEN tutorial: ready-made padded arrays, trained on without a log."""
    schema = Schema(
        tables=(Table("user", 4, 4), Table("gender", 2, 2), Table("item_id", 4, 8), Table("cate_id", 3, 4)),
        behaviours=(Behaviour("item_id"), Behaviour("cate_id")),
        sparse=(Sparse("user"), Sparse("gender")),
        dense=(Dense("pay_score"),),
    )
    columns = {
        "user": [0, 1, 2, 3],
        "gender": [0, 1, 0, 1],
        "item_id": [1, 2, 3, 2],
        "cate_id": [1, 2, 1, 2],
        "pay_score": [0.1, 0.2, 0.3, 0.2],
        "hist_item_id": [[1, 2, 3, 0], [1, 2, 3, 0], [1, 2, 0, 0], [1, 2, 0, 0]],
        "hist_cate_id": [[1, 1, 2, 0], [2, 1, 1, 0], [2, 1, 0, 0], [1, 2, 0, 0]],
        "neg_hist_item_id": [[1, 2, 3, 0], [1, 2, 3, 0], [1, 2, 0, 0], [1, 2, 0, 0]],
        "neg_hist_cate_id": [[1, 1, 2, 0], [2, 1, 1, 0], [2, 1, 0, 0], [1, 2, 0, 0]],
    }
    data = PaddedArrays(schema, columns, label=[1, 0, 1, 0])
    model = ModelConfig("DIN", options={"attention_activation": "relu", "tower_activation": "relu"})
    config = Config(model, DataConfig(batch_size=4), fit=FitConfig(epochs=3))
    trained = fit(config, data, data, tmp_path / "toy", progress=False)
    frame = pd.DataFrame(columns).drop(columns=["neg_hist_item_id", "neg_hist_cate_id"])
    frame[["hist_item_id", "hist_cate_id"]] = frame[["hist_item_id", "hist_cate_id"]].map(
        lambda ids: [i for i in ids if i]
    )
    loader = eval_loader(data, 4, (4,))
    logit_N1 = score(make_eval_step(trained.model), trained.variables(), loader).logit_NK
    got = predict(trained, frame)["probability"]
    np.testing.assert_allclose(got, 1 / (1 + np.exp(-logit_N1[:, 0])), atol=1e-6)
