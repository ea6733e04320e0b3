"""The true interests of a generated world at the explorer's events."""

import numpy as np
import pytest
from explored import random_run
from scipy.stats import spearmanr

from dienjax import prepare
from dienjax.data.drift import DriftWorld, optimal_score
from dienjax.report import cases as cases_module
from dienjax.report.cases import cases
from dienjax.report.scored import scored
from dienjax.report.truth import Truth, best_ranking, following, interests_of
from dienjax.training.run import Run

WORLD = DriftWorld(users=60, events_min=2, events_max=9, categories=5, items=15)


@pytest.fixture(scope="module")
def log():
    return WORLD.log()


def cases_of(log, folder, **prepared):
    store = prepare(
        log, folder / "store", user="user", item="item", time="time", attributes=["category"], test_fraction=0.5,
        **prepared,
    )  # fmt: skip
    return store, cases([scored(random_run(store, folder, "din"), store, "test")])


def test_the_best_ranking_is_by_the_likelihood_ratio_of_whole_histories(log, tmp_path):
    store, _ = cases_of(log, tmp_path)
    one = scored(Run.open(tmp_path / "din"), store, "test")
    raw_V = np.append([0, 0], store.vocabulary("item").sort_values("id")["value"])
    count_V = np.bincount(raw_V[store.events["item"][store.train_row]], minlength=WORLD.items)
    (score_M,) = best_ranking(Truth(WORLD), one).values()
    users = store.user_values()[one.user_M]
    assert len(score_M) == 2 * len({*users})
    for score, user, item in zip(score_M, users, raw_V[one.candidate("item")], strict=True):
        history = log[log["user"] == user].sort_values("time")["item"].tolist()[:-1]
        assert score == pytest.approx(optimal_score(WORLD.next_item([history]), count_V)[0, item])


def test_there_is_no_best_ranking_where_it_is_not_known(log, tmp_path):
    store, _ = cases_of(log, tmp_path, min_count=20)
    assert best_ranking(Truth(WORLD), scored(Run.open(tmp_path / "din"), store, "test")) == {}
    store, _ = cases_of(log, tmp_path / "known")
    run = random_run(store, tmp_path / "uniform", "din", negatives="uniform")
    assert [len(best_ranking(Truth(WORLD), scored(run, store, split))) for split in ("train", "test")] == [0, 1]


def test_interests_before_and_after_each_event(log, tmp_path, monkeypatch):
    """Earlier events count too, where only the latest are shown."""
    monkeypatch.setattr(cases_module, "EVENTS", 4)
    store, chosen = cases_of(log, tmp_path)
    found = interests_of(Truth(WORLD), store, chosen)
    users, cut = store.user_values(), 0
    for u, user in enumerate(chosen.user_U):
        mine = log[log["user"] == users[user]].sort_values("time")
        history, length = mine["item"].tolist()[:-1], chosen.length_U[u]
        cut += len(history) > length
        for t in range(length + 1):
            expected_C = WORLD.next_interest([history[: len(history) - length + t]])[0]
            np.testing.assert_allclose(found.interest_UPC[u, t], expected_C)
        assert np.isnan(found.interest_UPC[u, length + 1 :]).all()
        assert found.category_UT[u].tolist() == mine["category"].tolist()[:-1][-length:] + [-1] * (4 - length)
        assert found.category_UK[u, 0] == mine["category"].iloc[-1]
        last_C = found.interest_UPC[u, length]
        assert found.candidate_UKP[u, 0, length] == last_C[found.category_UK[u, 0]]
        assert np.isnan(found.candidate_UKP[u, :, length + 1 :]).all()
    assert cut


def test_nothing_is_claimed_of_what_training_never_saw(log, tmp_path):
    store, chosen = cases_of(log, tmp_path, min_count=20)
    found = interests_of(Truth(WORLD), store, chosen)
    item_UT = np.where(chosen.mask_UT, store.events["item"][chosen.event_UT], 0)
    unknown_U = (item_UT == 1).any(axis=1)
    assert unknown_U.any() and not unknown_U.all()
    np.testing.assert_array_equal(np.isnan(found.interest_UPC[:, 0, 0]), unknown_U)
    assert (found.category_UT[item_UT == 1] == -1).all() and (found.category_UT[item_UT > 1] >= 0).all()
    unknown_UK = chosen.candidate["item"] == 1
    assert unknown_UK.any() and np.isnan(found.candidate_UKP[unknown_UK]).all()
    assert (found.category_UK[unknown_UK] == -1).all()


def test_another_world_is_refused(log, tmp_path):
    store, chosen = cases_of(log, tmp_path)
    with pytest.raises(ValueError, match=r"expected the integers of the log"):
        interests_of(Truth(DriftWorld(categories=5, items=7)), store, chosen)


def test_following_is_a_mean_of_rank_correlations():
    rng = np.random.default_rng(0)
    probability_UKP, interest_UKP = rng.random((4, 2, 7)), rng.random((4, 2, 7)).round(1)
    probability_UKP[0, 0, 5:] = np.nan
    probability_UKP[1, :, 2:] = np.nan  # too few
    interest_UKP[2, 0] = 0.3  # constant
    expected = [
        spearmanr(probability_UKP[u, k], interest_UKP[u, k], nan_policy="omit").statistic
        for u, k in ((0, 0), (0, 1), (2, 1), (3, 0), (3, 1))
    ]
    assert following(probability_UKP, interest_UKP) == pytest.approx(np.mean(expected))
    assert following(probability_UKP, probability_UKP**3) == pytest.approx(1)
    assert following(probability_UKP, -probability_UKP) == pytest.approx(-1)
    assert following(probability_UKP[1:2], interest_UKP[1:2]) is None
