"""What a model makes of unknown items: nothing where a log holds no information, no extreme place among the known."""

import numpy as np
import pandas as pd
import pytest

from dienjax import Config, DataConfig, FitConfig, ModelConfig, OptimizerConfig, fit_store, predict, prepare
from dienjax.data.drift import DriftWorld
from experiments import noise


@pytest.mark.slow
@pytest.mark.parametrize("items", [3000, 30_000])
def test_a_log_of_noise_teaches_nothing(items):
    """With negatives that are never unknown the first reaches 0.74; from the whole log the second falls to 0.45."""
    found = noise.main(
        users=6000, items=items, min_counts=(3 if items > 3000 else 10,), models=("DIN",), protocols=("last",),
        seeds=(1,), epochs=1,
    )  # fmt: skip
    assert len(found) == 2
    for aucs in found.values():
        np.testing.assert_allclose(aucs, 0.5, atol=0.03)


@pytest.mark.slow
def test_an_item_that_was_never_seen_stands_among_the_others(tmp_path):
    log = DriftWorld(users=600).log()
    store = prepare(log, tmp_path / "s", user="user", item="item", time="time", attributes=["category"])
    config = Config(
        ModelConfig("DIN", 8, {"softmax": True, **noise.SMALL}),
        DataConfig(train="train_all", batch_size=128, lengths=2),
        optimizer=OptimizerConfig(learning_rate=5e-3),
        fit=FitConfig(epochs=2, patience=0),
    )
    run = fit_store(config, store, tmp_path / "r", progress=False)
    history = log.groupby("user")[["item", "category"]].agg(list).add_prefix("hist_").head(200).reset_index(drop=True)
    known = np.random.default_rng(0).permutation(480)[:60]
    rows = history.assign(
        item=[[*known.tolist(), 10_000]] * 200, category=[[*(known * 24 // 480).tolist(), 7]] * 200
    )  # fmt: skip
    score_NK = np.array(predict(run, pd.DataFrame(rows))["probability"].tolist())
    above = (score_NK[:, :60] > score_NK[:, 60:]).mean()
    assert 0.15 < above < 0.85
