"""Which sample stands in which step, which lengths there are, and what is prepared when."""

import threading
import time
import traceback
from contextlib import nullcontext
from itertools import combinations

import jax
import numpy as np
import pytest

from dienjax.data.loader import AHEAD, Loader, fewest_slots
from dienjax.data.split import StoreSplit


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


class Numbers:
    """A dataset whose batch is the array [B, T] of its samples' numbers; `made` counts the batches."""

    def __init__(self, length_N):
        self.length_N, self.user_N, self.made = np.array(length_N), np.arange(len(length_N)), 0

    def rows(self, index_B, T, epoch):
        self.made += 1
        return np.repeat(index_B[:, None] + 1000 * epoch, T, axis=1)


def slots(lengths, length_N):
    """The slots that the histories take in the smallest of the ascending lengths."""
    return np.array(lengths)[np.searchsorted(lengths, length_N)].sum()


@pytest.mark.parametrize("seed", range(40))
def test_the_chosen_lengths_are_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    length_N = rng.integers(0, rng.integers(1, 11), rng.integers(1, 40))
    *others, longest = np.unique(np.maximum(length_N, 1)).tolist()
    for n in range(1, 6):
        chosen = fewest_slots(length_N, n)
        assert len(chosen) <= n and chosen[-1] == longest and list(chosen) == sorted({*chosen})
        few = min(n - 1, len(others))
        assert slots(chosen, length_N) == min(slots((*c, longest), length_N) for c in combinations(others, few))


@pytest.mark.parametrize(
    ("length_N", "lengths", "expected"),
    [
        ([1] * 50 + [4] * 50 + [9] * 5, 2, (4, 9)),  # 400 + 45 slots; (1, 9) takes 50 + 495
        ([1] * 50 + [4] * 50 + [9] * 5, 3, (1, 4, 9)),
        ([0, 5, 9], 1, (9,)),
        ([0, 5, 9, 9], 100, (1, 5, 9)),
        ([7, 7, 7], 8, (7,)),
        ([0], 8, (1,)),
        ([3], 8, (3,)),
        ([0, 5, 0], (4, 8), (4, 8)),
        ([0, 5, 0], (50,), (50,)),
        ([0, 5, 9], (8, 2, 2), (2, 8, 9)),
        ([0, 0, 0], (4, 8), (4,)),  # no leftover moves to a length that no history needs
    ],
)
def test_lengths_are_chosen_or_given(length_N, lengths, expected):
    loader = Loader(Numbers(length_N), 1, lengths)
    assert loader.lengths == expected
    plan = loader.plan(0)
    for planned in plan:
        assert min(T for T in expected if length_N[planned.index[0]] <= T) == planned.T
    assert len(plan) == len(length_N)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("lengths", [(4, 8, 16, 32, 50), (8,), (2, 4), 1, 5, 1000])
@pytest.mark.parametrize("batch_size", [1, 7, 64, 100_000])
def test_a_plan_holds_every_sample_once_in_a_length_that_fits(store, shuffle, lengths, batch_size):
    dataset = StoreSplit(store, "train_all", auxiliary=False)
    loader = Loader(dataset, batch_size, lengths=lengths, shuffle=shuffle)
    plan = loader.plan(0)
    assert len(plan) == loader.steps(0)
    np.testing.assert_array_equal(np.sort(np.concatenate([p.index for p in plan])), np.arange(len(dataset.length_N)))
    assert all((dataset.length_N[p.index] <= p.T).all() for p in plan)
    assert sum(len(p.index) != batch_size for p in plan) <= 1
    assert {p.T for p in plan} <= set(loader.lengths)


def test_samples_stand_in_the_smallest_length_but_for_the_leftovers(store):
    dataset = StoreSplit(store, "train_all")
    loader = Loader(dataset, 32)
    moved = sum(
        (np.searchsorted(loader.lengths, dataset.length_N[p.index]) < loader.lengths.index(p.T)).sum()
        for p in loader.plan(0)
    )
    assert moved < 32 * len(loader.lengths)


def test_order_without_shuffling_and_with(store):
    loader = Loader(StoreSplit(store, "train_all"), 8, shuffle=False)
    for planned in loader.plan(0)[:3]:
        assert (np.diff(planned.index) > 0).all()
    same([p.index for p in loader.plan(0)], [p.index for p in loader.plan(1)])
    shuffled = Loader(StoreSplit(store, "train_all"), 8)
    plans = [shuffled.plan(0), shuffled.plan(1), Loader(StoreSplit(store, "train_all"), 8, seed=1).plan(0)]
    firsts = {tuple(plan[0].index.tolist()) for plan in plans}
    assert len(firsts) == 3
    assert [p.T for p in plans[0]] != sorted(p.T for p in plans[0])


def test_the_ragged_batch_is_filled_with_padding(store):
    loader = Loader(StoreSplit(store, "test"), 64, lengths=1)
    planned, batch = list(loader.epoch(0))[-1]
    n = len(planned.index)
    assert 0 < n < 64
    assert batch.mask_BK[:n].all()
    assert sum(np.abs(a[n:]).sum() for a in jax.tree.leaves(batch)) == 0
    assert {len(a) for a in jax.tree.leaves(batch)} == {64}
    batch.check(store.schema)


def test_resuming_in_mid_epoch_gives_the_same_batches(store):
    def loader():
        return Loader(StoreSplit(store, "train_all", seed=4), 64, seed=4)

    whole = [batch for _, batch in loader().epoch(2)]
    resumed = [batch for _, batch in loader().epoch(2, start=5)]
    assert len(resumed) == len(whole) - 5 > 0
    same(resumed, whole[5:])


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


@pytest.mark.parametrize("start", [0, 1, 5, 6, 99])
def test_batches_of_the_thread_are_those_made_one_by_one(start):
    loader = Loader(Numbers([3, 1, 0, 3, 2, 1, 1, 3, 3, 2, 2]), 2, lengths=2)
    plan = loader.plan(1)
    assert len(plan) == 6
    got = list(loader.epoch(1, start, prepare=lambda batch: -batch))
    assert [planned.T for planned, _ in got] == [planned.T for planned in plan[start:]]
    same([batch for _, batch in got], [-loader.batch(planned, 1) for planned in plan[start:]])
    assert not threads()


def test_nothing_is_prepared_beyond_what_is_ahead():
    dataset = Numbers([1] * 20)
    epoch = Loader(dataset, 1).epoch(0)
    assert dataset.made == 0
    for taken in range(1, 4):
        next(epoch)
        deadline = time.monotonic() + 5
        while dataset.made < taken + AHEAD and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)
        assert dataset.made == taken + AHEAD
    epoch.close()
    assert dataset.made == 3 + AHEAD
    assert not threads()


def test_an_error_of_the_thread_comes_in_its_turn_with_its_traceback():
    def fragile(batch):
        return 1 // int(batch[0, 0] - 2)

    epoch = Loader(Numbers([1] * 9), 1, shuffle=False).epoch(0, prepare=fragile)
    assert [next(epoch)[0].index.tolist() for _ in range(2)] == [[0], [1]]
    with pytest.raises(ZeroDivisionError) as raised:
        next(epoch)
    assert "fragile" in [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert not threads()


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_a_consumer_that_stops_early_leaves_no_thread(error):
    dataset = Numbers([1] * 50)

    def consume():
        for _ in Loader(dataset, 1).epoch(0):
            assert threads()
            if error:
                raise error
            break

    with pytest.raises(error) if error else nullcontext():
        consume()
    assert not threads()
    assert dataset.made <= 1 + AHEAD


def test_wrong_input(store):
    dataset = StoreSplit(store, "train")
    with pytest.raises(ValueError, match="batch_size=0"):
        Loader(dataset, 0)
    for lengths in [(0, 4), (), 0, -1, None]:
        with pytest.raises(ValueError, match=rf"lengths={lengths}".replace("(", r"\(").replace(")", r"\)") + ".*50,"):
            Loader(dataset, 4, lengths=lengths)
    with pytest.raises(ValueError, match="no samples"):
        Loader(Numbers([]), 4)


def test_shares_of_a_batch_are_its_rows_side_by_side(drift_store):
    """Also of the ragged batch, of which the last share has no row at all."""
    dataset = StoreSplit(drift_store, "train_all", max_len=9)
    N = len(dataset.length_N)
    size = next(size for size in range(32, 200, 4) if 0 < N % size <= size // 4)
    whole = Loader(dataset, size, (4, 9), seed=1)
    parts = [Loader(dataset, size, (4, 9), seed=1, share=(i, 4)) for i in range(4)]
    for planned, batch in whole.epoch(1):
        shares = [part.batch(planned, 1) for part in parts]
        same(jax.tree.map(lambda *arrays: np.concatenate(arrays), *shares), batch)
        same(np.concatenate([part.shared(planned) for part in parts]), planned.index)
        assert all(len(share.mask_BK) == size // 4 for share in shares)
