"""A real log, from its file to a test AUC."""

from dataclasses import replace
from pathlib import Path

import pytest

from data_prep.amazon import Args, main
from dienjax import Config, evaluate, fit_store

ROOT = Path(__file__).parents[1]
BEAUTY = ROOT.parent / "shared" / "data" / "amazon_beauty" / "interactions.tsv.gz"


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif(not BEAUTY.exists(), reason=f"real data absent: {BEAUTY}")
def test_amazon_beauty_trains_with_its_config(tmp_path):
    store = main(Args(interactions=BEAUTY, out=tmp_path / "store", protocol="last"))
    config = Config.load(ROOT / "experiments" / "beauty_last_dien.toml", ["data.lengths=1", "data.max_len=10"])
    quick = replace(config, fit=replace(config.fit, epochs=1), optimizer=replace(config.optimizer, learning_rate=3e-3))
    run = fit_store(quick, store, tmp_path / "run", progress=False)
    assert evaluate(run, store, "test")["auc"] > 0.65
