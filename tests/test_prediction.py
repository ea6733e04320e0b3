import numpy as np
import pandas as pd
import pytest

from dienjax import Config, DataConfig, Dense, FitConfig, ModelConfig, PaddedArrays, Schema, Sparse, Table, fit, predict
from dienjax.evaluation import eval_loader, score, store_split
from dienjax.prediction import predict_file
from dienjax.schema import Behaviour
from dienjax.train import make_eval_step


def raw_test_rows(store):
    """The test split in the values of the log: histories, and both candidates as lists."""
    samples = store.samples("test")
    values = {name: store.vocabulary(name).set_index("id")["value"] for name in ("item", "category")}
    rows = []
    for i, (user, end) in enumerate(zip(samples.user_N, samples.end_N, strict=True)):
        row = {}
        for name, column in store.events.items():
            row[f"hist_{name}"] = values[name].reindex(column[store.offsets[user] : end]).fillna(-1).tolist()
            row[name] = values[name].reindex(samples.candidates.field[name].reshape(-1, 2)[i]).fillna(-1).tolist()
        rows.append(row)
    return pd.DataFrame(rows)


def test_raw_values_give_the_probabilities_of_the_split(run, drift_store):
    loader = eval_loader(store_split(run.config, drift_store, "test"), 64, (4,))
    expected = score(make_eval_step(run.model), run.variables(), loader)
    got = predict(run, raw_test_rows(drift_store))
    np.testing.assert_allclose(np.stack(got["probability"]), 1 / (1 + np.exp(-expected.logit_NK)), atol=1e-6)


def test_one_candidate_a_row_is_a_number(run, drift_store):
    lists = raw_test_rows(drift_store)
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
        (lambda f: f.assign(item="3"), "holds values such as '3', but the log of the run held values such as"),
        (lambda f: f.assign(hist_category=[[0]]), "do not hold equally many"),
        (lambda f: f.iloc[:0], "no rows"),
    ],
)
def test_bad_tables(run, change, message):
    frame = pd.DataFrame({"hist_item": [[3, 4]], "hist_category": [[0, 0]], "item": [3], "category": [0]})
    with pytest.raises(ValueError, match=message):
        predict(run, change(frame))


def test_files(run, drift_store, tmp_path):
    raw_test_rows(drift_store).to_parquet(tmp_path / "in.parquet")
    rows = predict_file(run, tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert rows == len(pd.read_parquet(tmp_path / "out.parquet")) == len(drift_store.samples("test"))
    with pytest.raises(FileExistsError, match="--force"):
        predict_file(run, tmp_path / "in.parquet", tmp_path / "out.parquet")
    with pytest.raises(FileNotFoundError, match="Parquet"):
        predict_file(run, tmp_path / "none.parquet", tmp_path / "other.parquet")
    assert not (tmp_path / "other.parquet").exists()


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
