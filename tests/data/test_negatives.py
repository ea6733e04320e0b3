"""What is never drawn, how often the rest is, and that a draw knows nothing of its batch."""

import numpy as np
import pytest

from dienjax.data.negatives import CANDIDATE, HISTORY, Negatives, OwnItems, below, mix, sample_keys


def drawn(negatives, item_BN, user_B=None, epoch=0, stream=HISTORY, sample_B=None):
    B, N = item_BN.shape
    sample_B = np.arange(B) if sample_B is None else sample_B
    user_B = np.zeros(B, np.int64) if user_B is None else user_B
    row_BN = negatives.draw(epoch, stream, sample_B, user_B, np.arange(N)[None, :], item_BN)
    assert row_BN.shape == item_BN.shape
    return negatives.item_E[row_BN]


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
def test_never_the_positive_nor_the_unknown(how, own):
    rng = np.random.default_rng(1)
    item_E = np.repeat([1, 2, 3, 4], [60, 30, 9, 1])
    negatives = Negatives(item_E, np.array([0, 60, 100]), 6, how=how, own=own)
    item_BN = rng.integers(1, 5, (500, 20))
    got = drawn(negatives, item_BN, user_B=rng.integers(0, 2, 500))
    assert (got != item_BN).all()
    assert (got != 1).all()


def test_popularity_and_uniform_shares():
    item_E = np.repeat([1, 2, 3, 4], [100, 50, 40, 10])
    item_BN = np.full((2000, 10), 1)
    for how, shares in (("popularity", [0.5, 0.4, 0.1]), ("uniform", [1 / 3, 1 / 3, 1 / 3])):
        got = drawn(Negatives(item_E, np.array([0, 200]), 5, how=how), item_BN)
        np.testing.assert_allclose(np.bincount(got.ravel(), minlength=5)[2:] / got.size, shares, atol=0.015)


def test_uniform_skips_the_positive_without_bias():
    item_E = np.repeat([2, 3, 4, 5], [97, 1, 1, 1])
    got = drawn(Negatives(item_E, np.array([0, 100]), 6, how="uniform"), np.full((4000, 4), 3))
    np.testing.assert_allclose(np.bincount(got.ravel())[[2, 4, 5]] / got.size, 1 / 3, atol=0.02)


def test_a_log_of_nearly_one_item_still_gives_a_negative():
    item_E = np.full(100_000, 2)
    item_E[0] = 3
    got = drawn(Negatives(item_E, np.array([0, 100_000]), 4), np.full((50, 10), 2))
    assert (got == 3).all()


def test_own_excludes_past_and_future_of_the_user_only():
    item_E = np.array([2, 3, 4, 5, 6, 7])
    negatives = Negatives(item_E, np.array([0, 3, 6]), 8, own="exclude")
    got = drawn(negatives, np.full((400, 5), 2), user_B=np.arange(400) % 2)
    assert set(got[0::2].ravel()) == {5, 6, 7}
    assert set(got[1::2].ravel()) == {3, 4}


def test_a_user_who_did_everything_keeps_a_popular_draw_that_differs_from_the_positive():
    item_E = np.repeat([2, 3, 4], [50, 45, 5])
    negatives = Negatives(item_E, np.array([0, 100]), 5, own="exclude")
    got = drawn(negatives, np.full((2000, 3), 2))
    np.testing.assert_allclose(np.bincount(got.ravel())[2:] / got.size, [0, 0.9, 0.1], atol=0.02)


@pytest.mark.parametrize("own", ["allow", "exclude"])
def test_a_draw_does_not_depend_on_its_batch_or_its_length(own):
    rng = np.random.default_rng(2)
    item_E = np.minimum(rng.zipf(1.6, 1000) + 1, 30)
    negatives = Negatives(item_E, np.arange(0, 1001, 10), 31, own=own)
    item_BN, user_B = rng.integers(2, 31, (40, 8)), rng.integers(0, 100, 40)
    whole = drawn(negatives, item_BN, user_B)
    some = rng.permutation(40)[:9]
    np.testing.assert_array_equal(drawn(negatives, item_BN[some, :3], user_B[some], sample_B=some), whole[some, :3])


def test_seed_epoch_and_stream_change_the_draws():
    item_E, offsets, item_BN = np.arange(2, 502), np.array([0, 500]), np.full((50, 10), 2)
    base = drawn(Negatives(item_E, offsets, 502), item_BN)
    others = [
        drawn(Negatives(item_E, offsets, 502, seed=1), item_BN),
        drawn(Negatives(item_E, offsets, 502), item_BN, epoch=1),
        drawn(Negatives(item_E, offsets, 502), item_BN, stream=CANDIDATE),
        drawn(Negatives(item_E, offsets, 502), item_BN, sample_B=np.arange(1, 51)),
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
        ("popularity", "allow", [[19, 36, 31, 15, 14, 22], [27, 6, 24, 16, 32, 32], [32, 23, 17, 32, 14, 11]]),
        ("popularity", "exclude", [[22, 36, 10, 9, 24, 22], [16, 6, 5, 16, 32, 32], [14, 25, 2, 1, 14, 11]]),
        ("uniform", "allow", [[38, 35, 33, 36, 36, 28], [31, 30, 29, 36, 33, 34], [33, 27, 36, 35, 36, 37]]),
        ("uniform", "exclude", [[38, 35, 34, 36, 36, 36], [31, 30, 29, 32, 33, 31], [27, 27, 38, 27, 37, 37]]),
    ],
)
def test_draws_stay_what_they_are(how, own, expected):
    item_E = np.arange(40) * 7 % 13 + 1
    negatives = Negatives(item_E, np.arange(0, 41, 8), 14, seed=3, how=how, own=own)
    row_BN = negatives.draw(2, HISTORY, np.arange(3), np.arange(3), np.arange(6)[None, :], item_E[:18].reshape(3, 6))
    assert row_BN.tolist() == expected


def test_wrong_input():
    with pytest.raises(ValueError, match="1 known item"):
        Negatives(np.array([1, 2, 2]), np.array([0, 3]), 3)
    with pytest.raises(ValueError, match="did you mean 'popularity'"):
        Negatives(np.array([2, 3]), np.array([0, 2]), 4, how="popular")
    with pytest.raises(ValueError, match="own='never'"):
        Negatives(np.array([2, 3]), np.array([0, 2]), 4, own="never")
