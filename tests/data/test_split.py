"""What the row of a sample holds."""

import jax
import numpy as np
import pandas as pd
import pytest

from dienjax.data.loader import Loader
from dienjax.data.split import StoreSplit, cut_rows
from dienjax.preparation.prepare import prepare


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def events_before(store, user, end, max_len, name):
    return store.events[name][store.offsets[user] : end].tolist()[-max_len:]


@pytest.mark.parametrize("split", ["train", "train_all", "valid", "test"])
@pytest.mark.parametrize("max_len", [6, 50])
def test_rows_hold_the_events_before_the_target(store, split, max_len):
    dataset = StoreSplit(store, split, max_len=max_len)
    loader = Loader(dataset, 16, lengths=(4, 8, 16))
    for planned, batch in loader.epoch(0):
        batch.check(store.schema)
        for b, sample in enumerate(planned.index):
            user, end = int(dataset.user_N[sample]), int(dataset.end_N[sample])
            for name in ("item", "kind"):
                expected = events_before(store, user, end, max_len, name)
                n = len(expected)
                assert batch.history[name][b].tolist() == expected + [0] * (planned.T - n)
                assert batch.candidate[name][b, 0] == store.events[name][end]
            assert batch.mask_BT[b].tolist() == [True] * n + [False] * (planned.T - n)
            first = end - n
            assert batch.hist_label_BT[b, :n].tolist() == store.hist_label_E[first:end].tolist()
            assert batch.user["age"][b] == store.users["age"][user]
        assert batch.label_BK[: len(planned.index)].tolist() == [[1, 0]] * len(planned.index)


def test_negatives_differ_from_their_step_and_keep_their_attributes(store):
    pairs = set(zip(store.events["item"].tolist(), store.events["kind"].tolist(), strict=True))
    for planned, batch in Loader(StoreSplit(store, "train_all", candidates=3), 64).epoch(0):
        real = batch.mask_BT
        assert (batch.negative["item"][real] != batch.history["item"][real]).all()
        assert (batch.negative["item"][real] >= 2).all()
        assert (batch.negative["item"][~real] == 0).all()
        drawn = zip(batch.negative["item"][real].tolist(), batch.negative["kind"][real].tolist(), strict=True)
        assert set(drawn) <= pairs
        real = batch.mask_BK[:, 0]
        assert batch.candidate["item"].shape == (64, 4)
        assert (batch.candidate["item"][real, 1:] != batch.candidate["item"][real, :1]).all()
        assert (batch.candidate["item"][real, 1:] >= 2).all()
        assert real.sum() == len(planned.index)


def test_a_sample_meets_the_same_negatives_in_any_batch_and_length(store):
    dataset = StoreSplit(store, "train_all")
    some = np.flatnonzero(dataset.length_N == 7)[:5]
    others = np.concatenate([np.flatnonzero(dataset.length_N < 3)[:20], some])
    alone, among = dataset.rows(some, 7, 3), dataset.rows(others, 30, 3)
    same(alone.candidate, {k: v[-5:] for k, v in among.candidate.items()})
    same(alone.negative, {k: v[-5:, :7] for k, v in among.negative.items()})
    cut = StoreSplit(store, "train_all", max_len=3).rows(some, 3, 3)
    same(cut.negative, {k: v[:, -3:] for k, v in alone.negative.items()})


@pytest.mark.parametrize("group", ["negative", "candidate"])
def test_negatives_are_redrawn_each_epoch_and_for_each_seed(store, group):
    some = np.arange(100)
    base = getattr(StoreSplit(store, "train_all").rows(some, 24, 0), group)["item"]
    for seed, epoch in ((0, 1), (1, 0)):
        assert (getattr(StoreSplit(store, "train_all", seed=seed).rows(some, 24, epoch), group)["item"] != base).any()


def test_own_items_are_no_negatives_when_excluded(store):
    dataset = StoreSplit(store, "train_all", own="exclude", negatives="uniform")
    batch = dataset.rows(np.arange(len(dataset.user_N)), 24, 0)
    for b, user in enumerate(dataset.user_N):
        own = store.events["item"][store.offsets[user] : store.offsets[user + 1]]
        assert not np.isin(batch.negative["item"][b][batch.mask_BT[b]], own).any()
        assert batch.candidate["item"][b, 1] not in own


def test_a_plain_click_log_has_one_candidate(store):
    batch = StoreSplit(store, "train", candidates=0, auxiliary=False).rows(np.arange(4), 8, 0)
    assert batch.label_BK.tolist() == [[1], [1], [1], [1]]
    batch.check(store.schema)


def test_evaluation_candidates_do_not_change(store):
    dataset = StoreSplit(store, "test", auxiliary=False)
    index = np.arange(len(dataset.user_N))
    same(dataset.rows(index, 50, 0), dataset.rows(index, 50, 9))
    assert dataset.rows(index, 50, 0).negative is None


@pytest.mark.parametrize(("counts", "K"), [([1, 1, 1], 1), ([6, 6, 6], 6), ([1] * 100 + [200], 2), ([2, 0, 3, 5], 5)])
def test_rows_of_candidates_are_cut_where_it_is_least_work(counts, K):
    first = np.concatenate([[0], np.cumsum(counts)])
    got, sample_R, from_R, to_R = cut_rows(first)
    assert got == K
    assert (to_R - from_R).max() <= K
    rows = [(int(s), c) for s, a, b in zip(sample_R, from_R, to_R, strict=True) for c in range(a, b)]
    assert rows == [(n, c) for n in range(len(counts)) for c in range(first[n], first[n + 1])]


def test_rows_hold_the_stored_candidates(tmp_path):
    events = pd.DataFrame({"u": [1, 1, 1, 2], "i": [5, 6, 7, 5], "t": [1, 2, 3, 1]})
    shown = pd.DataFrame(
        {"u": [1, 1, 1, 2], "i": [5, 6, 7, 6], "t": [3, 3, 3, 1], "y": [0, 1, 0, 1], "x": [1.5, 2, 3, 4]}
    )
    store = prepare(
        events, tmp_path / "s", user="u", item="i", time="t", impressions=shown, label="y", dense=["x"],
        test_fraction=0, valid_fraction=0,
    )  # fmt: skip
    dataset = StoreSplit(store, "train")
    (_, batch), *rest = Loader(dataset, 4, lengths=1, shuffle=False).epoch(0)
    batch.check(store.schema)
    assert not rest
    assert batch.mask_BT.sum(axis=1).tolist() == [2, 0, 0, 0]
    order = np.argsort(-batch.mask_BK.sum(axis=1), kind="stable")
    assert batch.mask_BK[order].sum(axis=1).tolist() == [3, 1, 0, 0]
    assert batch.candidate["x"][order].tolist() == [[1.5, 2, 3], [4, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert batch.label_BK[order].tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert (batch.candidate["i"] > 0).tolist() == batch.mask_BK.tolist()


def test_negatives_are_not_built_where_none_is_drawn(store):
    assert not hasattr(StoreSplit(store, "test", auxiliary=False), "negatives")
    assert hasattr(StoreSplit(store, "test"), "negatives")


def test_wrong_input(store):
    with pytest.raises(ValueError, match="did you mean 'train_all'"):
        StoreSplit(store, "trainall")
    with pytest.raises(ValueError, match="max_len=0"):
        StoreSplit(store, "train", max_len=0)
