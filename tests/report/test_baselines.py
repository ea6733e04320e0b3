"""Baselines are what counting by hand gives."""

import numpy as np
import pytest
from measured_runs import awkward_store, made_up

from dienjax.report.baselines import baselines, popularity, shares_of_history


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("baselines")
    return made_up(awkward_store(folder / "store"), folder / "run")


def test_popularity_counts_training_events_and_no_unknown_item(scored):
    store, item_M = scored.store, scored.candidate("item")
    train = store.events["item"][store.train_row].tolist()
    wanted = [train.count(i) if i > 1 else 0 for i in item_M]
    assert popularity(store, item_M).tolist() == wanted
    assert (item_M == 1).any() and max(wanted) > 0 and 1 in train


def test_share_of_the_history_that_the_model_sees(scored, monkeypatch):
    store, dataset = scored.store, scored.dataset
    wanted = []
    for kind, row in zip(scored.candidate("kind"), scored.row_M, strict=True):
        end = dataset.end_N[row]
        seen = store.events["kind"][end - dataset.length_N[row] : end].tolist()
        wanted.append(seen.count(kind) / len(seen) if seen else 0)
    for block in (1 << 22, 1):
        monkeypatch.setattr("dienjax.report.baselines.COMPARISONS", block)
        assert shares_of_history(scored, ["kind"])["kind"] == pytest.approx(wanted)
    assert 0 in scored.length_M and len({*wanted}) > 3


def test_without_attributes_the_item_itself_is_looked_for(scored, log, tmp_path):
    from dienjax import prepare

    assert list(baselines(scored)) == ["popularity of the item", "kind's share of history"]
    plain = prepare(log, tmp_path / "store", user="user", item="item", time="when", test_fraction=0.2)
    found = baselines(made_up(plain, tmp_path / "run"))
    assert list(found) == ["popularity of the item", "item's share of history"]
    assert all(len(score_M) == 2 * len(plain.samples("test")) for score_M in found.values())
    assert np.unique(found["item's share of history"]).size > 1
