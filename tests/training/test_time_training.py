"""Fields of time from a log to a served model: training, prediction of raw rows, and the ranker."""

import numpy as np
import pandas as pd
import pytest

from dienjax import Config, DataConfig, FitConfig, ModelConfig, StoreSplit, fit_store, predict, prepare
from dienjax.data.loader import Loader
from dienjax.training.evaluation import score_run

ONE_DAY = 86_400


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    """A user buys what was bought a day ago exactly, and not what was bought an hour ago: time alone tells which."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(300):
        now = 10**9 + int(rng.integers(0, 10**8))
        items = rng.choice(12, 3, replace=False)
        rows += [(user, items[0], now - 30 * ONE_DAY), (user, items[1], now - ONE_DAY), (user, items[2], now - 3600)]
        rows += [(user, items[1], now)]
    log = pd.DataFrame(rows, columns=["user", "item", "time"])
    return prepare(
        log, tmp_path_factory.mktemp("timed") / "store", user="user", item="item", time="time",
        time_fields=["gap", "hour"], test_fraction=0.2, valid_fraction=0.1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(timed, tmp_path_factory):
    config = Config(
        ModelConfig("DIEN", 4, {"attention_hidden": (8,), "tower": (8,), "auxiliary_hidden": (8,),
                                "attention_time": "gap"}),
        DataConfig(batch_size=64, lengths=(3,)),
        fit=FitConfig(epochs=2, patience=0),
    )  # fmt: skip
    return fit_store(config, timed, tmp_path_factory.mktemp("runs") / "run", progress=False)


def raw(store):
    """The test samples as raw rows, and their scores' data set."""
    dataset = StoreSplit(store, "test", auxiliary=False)
    (_, batch), *_ = Loader(dataset, len(dataset.end_N), lengths=1, shuffle=False).epoch(0)
    value = store.vocabulary("item").set_index("id")["value"]
    histories = [value[ids[mask]].tolist() for ids, mask in zip(batch.history["item"], batch.mask_BT, strict=True)]
    start = store.offsets[dataset.user_N]
    return pd.DataFrame({
        "hist_item": histories,
        "item": [value[ids].tolist() for ids in batch.candidate["item"]],
        "hist_time": [store.time_E[s:e].tolist() for s, e in zip(start, dataset.end_N, strict=True)],
        "now": dataset.shown.time_N if dataset.shown is not None else store.time_E[dataset.end_N],
    })  # fmt: skip


def test_raw_rows_with_their_times_are_predicted_as_the_store_is(timed, trained):
    _, scores = score_run(trained, timed, "test")
    got = np.array(predict(trained, raw(timed))["probability"].tolist())
    np.testing.assert_allclose(got, 1 / (1 + np.exp(-scores.logit_NK)), atol=1e-6)
    later = predict(trained, raw(timed).assign(now=lambda rows: rows["now"] + 100 * ONE_DAY))
    assert np.abs(np.array(later["probability"].tolist()) - got).max() > 1e-4


@pytest.mark.slow
def test_the_ranker_agrees(timed, trained, tmp_path):
    pytest.importorskip("jax2onnx")
    from dienjax.export import export_run
    from dienjax.serving import Ranker

    export_run(trained, tmp_path / "export")
    ranker, rows = Ranker(tmp_path / "export"), raw(timed)
    want = np.array(predict(trained, rows)["probability"].tolist())
    for row, (_, sample) in zip(want[:20], rows.iterrows(), strict=False):
        history = {"item": sample["hist_item"], "time": sample["hist_time"]}
        got = ranker.score(history, {"item": sample["item"]}, now=sample["now"])
        np.testing.assert_allclose(got, row, atol=1e-5)
    with pytest.raises(ValueError, match=r"history: an event at .* stands before now"):
        ranker.score(history, {"item": sample["item"]}, now=0)
    with pytest.raises(TypeError, match=r"now is None; expected a time"):
        ranker.score(history, {"item": sample["item"]})
    with pytest.raises(ValueError, match=r"history\['time'\] is missing"):
        ranker.score({"item": sample["hist_item"]}, {"item": sample["item"]}, now=1)
