"""From where negatives come, how often each is drawn, and that a draw knows nothing of its batch."""

import numpy as np
import pytest

from dienjax.data.negatives import CANDIDATE, HISTORY, Negatives, OwnItems, below, mix, sample_keys


def sampler(item_E, offsets=None, pool=None, **how):
    """Of a whole log, unless a pool is given."""
    offsets = np.array([0, len(item_E)]) if offsets is None else offsets
    return Negatives(item_E, offsets, np.arange(len(item_E)) if pool is None else pool, **how)


def drawn(negatives, item_BN, user_B=None, epoch=0, stream=HISTORY, sample_B=None):
    B, N = item_BN.shape
    sample_B = np.arange(B) if sample_B is None else sample_B
    user_B = np.zeros(B, np.int64) if user_B is None else user_B
    row_BN, drawn_BN = negatives.draw(epoch, stream, sample_B, user_B, np.arange(N)[None, :], item_BN)
    assert row_BN.shape == item_BN.shape
    np.testing.assert_array_equal(drawn_BN, negatives.item_E[row_BN])
    return drawn_BN


def test_mix_gives_the_published_splitmix64_sequence():
    # The first outputs of splitmix64 from state 0: the finaliser of multiples of the golden gamma.
    state = np.arange(1, 4, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert mix(state).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_below_is_uniform_and_in_range():
    key_B = sample_keys(0, 0, HISTORY, np.arange(20_000))
    value = below(5, key_B, np.zeros(1, np.int64), 0)
    assert value.min() == 0
    assert value.max() == 4
    np.testing.assert_allclose(np.bincount(value) / len(value), 0.2, atol=0.015)


@pytest.mark.parametrize("how", ["popularity", "uniform"])
@pytest.mark.parametrize("own", ["allow", "exclude"])
def test_never_the_positive_and_never_from_outside_the_pool(how, own):
    rng = np.random.default_rng(1)
    item_E = np.repeat([0, 1, 2, 3], [60, 30, 9, 1])
    pool = np.flatnonzero(rng.random(100) < 0.7)
    negatives = sampler(item_E, np.array([0, 60, 100]), pool, how=how, own=own)
    item_BN, user_B = rng.integers(0, 4, (500, 20)), rng.integers(0, 2, 500)
    row_BN, _ = negatives.draw(0, HISTORY, np.arange(500), user_B, np.arange(20)[None, :], item_BN)
    assert (item_E[row_BN] != item_BN).all()
    assert np.isin(row_BN, pool).all()


def test_popularity_and_uniform_shares():
    item_E = np.repeat([0, 1, 2, 3], [100, 50, 40, 10])
    item_BN = np.full((2000, 10), 0)
    for how, shares in (("popularity", [0.5, 0.4, 0.1]), ("uniform", [1 / 3, 1 / 3, 1 / 3])):
        got = drawn(sampler(item_E, how=how), item_BN)
        np.testing.assert_allclose(np.bincount(got.ravel(), minlength=4)[1:] / got.size, shares, atol=0.015)


def test_shares_are_those_of_the_pool():
    item_E = np.tile([0, 1, 2], 100)
    pool = np.flatnonzero((item_E != 1) | (np.arange(300) < 90))
    got = drawn(sampler(item_E, pool=pool), np.full((2000, 10), 0))
    np.testing.assert_allclose(np.bincount(got.ravel())[1:] / got.size, [30 / 130, 100 / 130], atol=0.015)


def test_uniform_skips_the_positive_without_bias():
    item_E = np.repeat([2, 3, 4, 5], [97, 1, 1, 1])
    got = drawn(sampler(item_E, how="uniform"), np.full((4000, 4), 3))
    np.testing.assert_allclose(np.bincount(got.ravel())[[2, 4, 5]] / got.size, 1 / 3, atol=0.02)


def test_a_log_of_nearly_one_item_still_gives_a_negative():
    item_E = np.full(100_000, 2)
    item_E[0] = 3
    got = drawn(sampler(item_E), np.full((50, 10), 2))
    assert (got == 3).all()


def test_own_excludes_past_and_future_of_the_user_only():
    item_E = np.array([2, 3, 4, 5, 6, 7])
    negatives = sampler(item_E, np.array([0, 3, 6]), own="exclude")
    got = drawn(negatives, np.full((400, 5), 2), user_B=np.arange(400) % 2)
    assert set(got[0::2].ravel()) == {5, 6, 7}
    assert set(got[1::2].ravel()) == {3, 4}


def test_own_excludes_what_the_user_did_outside_the_pool_too():
    item_E = np.array([2, 3, 4, 3, 6, 7])
    got = drawn(sampler(item_E, np.array([0, 3, 6]), np.array([2, 3, 4, 5]), own="exclude"), np.full((200, 5), 2))
    assert set(got.ravel()) == {6, 7}


def test_a_user_who_did_everything_keeps_a_popular_draw_that_differs_from_the_positive():
    item_E = np.repeat([2, 3, 4], [50, 45, 5])
    negatives = sampler(item_E, own="exclude")
    got = drawn(negatives, np.full((2000, 3), 2))
    np.testing.assert_allclose(np.bincount(got.ravel())[2:] / got.size, [0, 0.9, 0.1], atol=0.02)


@pytest.mark.parametrize("own", ["allow", "exclude"])
def test_a_draw_does_not_depend_on_its_batch_or_its_length(own):
    rng = np.random.default_rng(2)
    item_E = np.minimum(rng.zipf(1.6, 1000) + 1, 30)
    negatives = sampler(item_E, np.arange(0, 1001, 10), own=own)
    item_BN, user_B = rng.integers(2, 31, (40, 8)), rng.integers(0, 100, 40)
    whole = drawn(negatives, item_BN, user_B)
    some = rng.permutation(40)[:9]
    np.testing.assert_array_equal(drawn(negatives, item_BN[some, :3], user_B[some], sample_B=some), whole[some, :3])


def test_seed_epoch_and_stream_change_the_draws():
    item_E, item_BN = np.arange(2, 502), np.full((50, 10), 2)
    base = drawn(sampler(item_E), item_BN)
    others = [
        drawn(sampler(item_E, seed=1), item_BN),
        drawn(sampler(item_E), item_BN, epoch=1),
        drawn(sampler(item_E), item_BN, stream=CANDIDATE),
        drawn(sampler(item_E), item_BN, sample_B=np.arange(1, 51)),
    ]
    for other in others:
        assert (other == base).mean() < 0.05


def test_own_items_are_found_by_the_search():
    rng = np.random.default_rng(4)
    count_U = np.array([1, 0, 2, 3, 17, 0, 64, 5, 0])
    offsets, item_E = np.concatenate([[0], np.cumsum(count_U)]), rng.integers(2, 30, count_U.sum())
    own, user_B = OwnItems(item_E, offsets, 30), np.arange(9)
    got = own.holds(user_B[:, None], np.arange(30)[None, :])
    for user in user_B:
        assert np.flatnonzero(got[user]).tolist() == sorted(set(item_E[offsets[user] : offsets[user + 1]].tolist()))
        np.testing.assert_array_equal(own.holds(np.full(30, user), np.arange(30)), got[user])


@pytest.mark.parametrize(
    ("how", "own", "expected"),
    [
        ("popularity", "allow", [[21, 36, 31, 17, 16, 3], [28, 9, 25, 18, 32, 15], [32, 24, 19, 33, 38, 39]]),
        ("popularity", "exclude", [[21, 36, 12, 11, 25, 23], [18, 31, 16, 18, 32, 32], [26, 24, 12, 11, 38, 39]]),
        ("uniform", "allow", [[38, 35, 33, 34, 36, 39], [31, 30, 29, 36, 33, 34], [33, 27, 36, 33, 34, 37]]),
        ("uniform", "exclude", [[38, 35, 34, 34, 36, 38], [31, 30, 29, 30, 33, 31], [27, 27, 38, 39, 37, 37]]),
    ],
)
def test_draws_stay_what_they_are(how, own, expected):
    item_E = np.arange(40) * 7 % 13 + 1
    negatives = sampler(item_E, np.arange(0, 41, 8), np.arange(3, 40), seed=3, how=how, own=own)
    row_BN, _ = negatives.draw(2, HISTORY, np.arange(3), np.arange(3), np.arange(6)[None, :], item_E[:18].reshape(3, 6))
    assert row_BN.tolist() == expected


def test_wrong_input():
    with pytest.raises(ValueError, match=r"1 item\(s\) to draw from, in 3 events"):
        sampler(np.array([2, 2, 2, 3]), pool=np.arange(3))
    with pytest.raises(ValueError, match=r"0 item\(s\) to draw from, in 0 events"):
        sampler(np.array([2, 3]), pool=np.arange(0))
    with pytest.raises(ValueError, match="did you mean 'popularity'"):
        sampler(np.array([2, 3]), how="popular")
    with pytest.raises(ValueError, match="own='never'"):
        sampler(np.array([2, 3]), own="never")
