"""Who trains and who tests, on logs small enough to see."""

import numpy as np
import pytest

from dienjax.preparation import splits
from dienjax.preparation.splits import Fractions

OFFSETS = np.array([0, 3, 3, 4, 8])  # users of 3, 0, 1 and 4 events
TIME_E = np.array([1, 2, 2, 5, 0, 2, 4, 9])


def by_time(user_N, time_N, fractions):
    begins = splits.times_of_parts(lambda: iter([time_N[:2], time_N[2:]]), len(time_N), fractions)
    return splits.by_time(OFFSETS, TIME_E, user_N, time_N, begins)


def by_user(user_N, fractions):
    eligible_U = splits.marked(user_N, len(OFFSETS) - 1)
    return splits.by_user(OFFSETS, user_N, splits.parts_of_users(eligible_U, fractions))


def test_leave_one_out():
    split = splits.leave_one_out(OFFSETS)
    assert {name: end.tolist() for name, end in split.ends.items()} == {"train": [5], "valid": [1, 6], "test": [2, 7]}
    assert np.flatnonzero(split.train_E).tolist() == [0, 4, 5]
    assert split.train_U.tolist() == [False, False, False, True]


def test_last_takes_users_with_a_history():
    split = splits.last(OFFSETS, splits.parts_of_users(np.diff(OFFSETS) >= 2, Fractions(0.5, 0.0, 0)))
    (train,), (test,) = split.ends["train"], split.ends["test"]
    assert {int(train), int(test)} == {2, 7}
    mine = [1, 2] if train == 2 else [5, 6, 7]
    assert split.ends["train_all"].tolist() == mine
    assert np.flatnonzero(split.train_E).tolist() == [mine[0] - 1, *mine]


def test_history_ends_are_strictly_before():
    user_N = np.array([0, 0, 0, 0, 1, 2, 3, 3])
    time_N = np.array([0, 1, 2, 3, 7, 5, 2, 99])
    user_E = np.repeat(np.arange(4), np.diff(OFFSETS))
    assert splits.history_ends(user_E, TIME_E, user_N, time_N).tolist() == [0, 0, 1, 3, 3, 3, 5, 8]


def test_groups_are_runs_of_one_user_and_time():
    assert splits.groups(np.array([0, 0, 0, 1, 1]), np.array([1, 1, 2, 2, 2])).tolist() == [0, 2, 3, 5]
    assert splits.groups(np.zeros(0, int), np.zeros(0)).tolist() == [0]


def test_by_time_never_divides_a_moment():
    user_N, time_N = np.array([0, 0, 2, 3, 3, 3]), np.array([3, 4, 4, 1, 4, 8])
    split = by_time(user_N, time_N, Fractions(0.3, 0.25, 0))
    # Two of six should test, but three share the time 4.
    assert {name: n.tolist() for name, n in split.shown.items()} == {"train": [0, 3], "valid": [], "test": [1, 2, 4, 5]}
    assert np.flatnonzero(split.train_E).tolist() == [0, 1, 2, 4, 5]
    assert split.train_U.tolist() == [True, False, False, True]


@pytest.mark.parametrize(("test", "valid"), [(0.0, 0.0), (1.0, 0.0), (0.5, 0.5)])
def test_by_time_and_by_user_use_each_impression_once(test, valid):
    user_N, time_N = np.array([0, 1, 2, 3]), np.array([3, 1, 4, 8])
    for split in (
        by_time(user_N, time_N, Fractions(test, valid, 0)),
        by_user(user_N, Fractions(test, valid, 0)),
    ):
        assert sorted(np.concatenate(list(split.shown.values())).tolist()) == [0, 1, 2, 3]
        assert len(split.shown["test"]) == 4 * test


def test_by_user_keeps_what_test_users_did_from_training():
    split = by_user(np.array([0, 0, 3]), Fractions(0.5, 0.0, 0))
    (tested,) = set(np.array([0, 0, 3])[split.shown["test"]].tolist())
    assert np.flatnonzero(~split.train_E).tolist() == list(range(OFFSETS[tested], OFFSETS[tested + 1]))
    assert split.train_U.tolist() == [tested != 0, True, True, tested != 3]


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_the_kth_smallest_is_that_of_sorting(dtype):
    rng = np.random.default_rng(0)
    for scale in (3, 1e5, 2.0**62):
        value = (rng.uniform(-1, 1, 400) * scale).astype(dtype)
        for k in (0, 1, 200, 399):
            assert splits.smallest(lambda: iter(np.split(value, [7, 300])), k) == np.sort(value)[k]  # noqa: B023
