"""Which users, samples, candidates and events the explorer shows."""

import numpy as np
import pytest
from explored import impressions_store, random_run

from dienjax.report import cases as module
from dienjax.report.cases import cases
from dienjax.report.scored import scored


@pytest.fixture(scope="module")
def last(drift_store, tmp_path_factory):
    """Two runs on the same split, whose users have a sample of two candidates."""
    folder = tmp_path_factory.mktemp("last")
    return [scored(random_run(drift_store, folder, name), drift_store, "test") for name in ("AUGRU", "din")]


def loss(one, user):
    mine = one.user_M == user
    probability = 1 / (1 + np.exp(-one.logit_M[mine].astype(float)))
    return -np.mean(np.log(np.where(one.label_M[mine] > 0, probability, 1 - probability)))


def test_the_most_active_the_worst_scored_and_others(last, monkeypatch):
    monkeypatch.setattr(module, "SHARES", {"most active": 5, "worst scored": 4, "random": 3})
    found = cases(last, seed=1)
    user_U, why = found.user_U.tolist(), np.array(found.why)
    assert len({*user_U}) == 12 and [*dict.fromkeys(why.tolist())] == ["most active", "worst scored", "random"]
    everyone = {*last[0].user_M.tolist()}
    events = dict(enumerate(np.diff(last[0].store.offsets).tolist()))
    active = found.user_U[why == "most active"].tolist()
    assert min(events[u] for u in active) >= max(events[u] for u in everyone - {*active})
    worst = found.user_U[why == "worst scored"].tolist()
    mean = {u: sum(loss(one, u) for one in last) for u in everyone - {*active}}
    assert worst == sorted(mean, key=mean.get, reverse=True)[:4]
    again, other = cases(last, seed=1), cases(last, seed=2)
    assert again.user_U.tolist() == user_U
    assert other.user_U[:9].tolist() == user_U[:9] and other.user_U[9:].tolist() != user_U[9:]


def test_all_users_of_a_small_split(last):
    found = cases(last)
    assert sorted(found.user_U.tolist()) == sorted({*last[0].user_M.tolist()})
    assert found.why.count("most active") == module.SHARES["most active"]


def test_named_users(last, shown):
    values = last[0].store.user_values().astype(str)
    some = values[np.unique(last[0].user_M)[[3, 0]]].tolist()
    found = cases(last, [*some, some[0]])
    assert values[found.user_U].tolist() == some and found.why == ["named", "named"]
    with pytest.raises(ValueError, match=r"user 'u1O' has no sample in the split 'test' of .*did you mean 'u1' or"):
        cases([shown], ["u3", "u1O"])


def test_the_latest_sample_and_its_first_candidates(shown):
    """Positives first, then by score; at most 10."""
    found = cases([shown])
    samples, cut = shown.store.samples("test"), 0
    for u, user in enumerate(found.user_U):
        mine = np.flatnonzero(samples.user_N == user)
        latest = mine[np.argmax(samples.candidates.time_N[mine])]
        assert (samples.candidates.time_N[mine] < samples.candidates.time_N[latest]).sum() == len(mine) - 1
        first, end = samples.candidates.first[latest : latest + 2]
        label, item = (array[first:end] for array in (samples.candidates.label_C, samples.candidates.field["item"]))
        place = samples.candidates.field["place"][first:end]
        at = np.isin(shown.row_M, np.flatnonzero(shown.dataset.sample_N == latest))
        order = sorted(range(end - first), key=lambda i, label=label, at=at: (-label[i], -shown.logit_M[at][i]))[:10]
        count = found.mask_UK[u].sum()
        cut += end - first > 10
        assert count == min(10, end - first)
        assert found.candidate["item"][u, :count].tolist() == item[order].tolist()
        assert found.candidate["place"][u, :count].tolist() == place[order].tolist()
        assert found.label_UK[u, :count].tolist() == label[order].tolist()
        assert not found.candidate["item"][u, count:].any()
    assert cut, "no user has more than 10"


def test_drawn_candidates_are_those_that_were_scored(drift_store, tmp_path):
    """In a split without stored ones, where each event of a user is a sample."""
    one = scored(random_run(drift_store, tmp_path), drift_store, "train_all")
    found = cases([one])
    assert len(found.user_U) == 50
    for u, user in enumerate(found.user_U):
        last = np.flatnonzero(one.dataset.user_N == user)[-1]
        assert found.end_U[u] == drift_store.offsets[user + 1] - 1
        batch = one.dataset.rows(np.array([last]), 1, 0)
        assert found.candidate["item"][u].tolist() == batch.candidate["item"][0].tolist()
        assert found.label_UK[u].tolist() == [1, 0]


def test_regression_shows_the_highest_predictions(tmp_path, monkeypatch):
    store = impressions_store(tmp_path, "stars")
    one = scored(random_run(store, tmp_path, task="regression"), store, "test")
    monkeypatch.setattr(module, "SHARES", {"most active": 2, "worst scored": 4, "random": 3})
    found = cases([one])
    for u, user in enumerate(found.user_U):
        mine = np.flatnonzero(one.user_M == user)
        sample_M = one.dataset.sample_N[one.row_M[mine]]
        latest = mine[sample_M == sample_M.max()]
        best = latest[np.argsort(-one.logit_M[latest])][:10]
        np.testing.assert_array_equal(found.label_UK[u, found.mask_UK[u]], one.label_M[best])
    error = {user: np.abs(one.logit_M - one.label_M)[one.user_M == user].mean() for user in found.user_U.tolist()}
    worst = [user for user, why in zip(found.user_U.tolist(), found.why, strict=True) if why == "worst scored"]
    assert len(worst) == 4
    assert worst == sorted(worst, key=error.get, reverse=True)


def test_the_events_before_the_sample(shown, monkeypatch):
    monkeypatch.setattr(module, "EVENTS", 3)
    found = cases([shown])
    lengths = {*found.length_U.tolist()}
    for u, user in enumerate(found.user_U):
        start, end = shown.store.offsets[user : user + 2]
        assert found.end_U[u] == end, "all events are before the impressions"
        assert found.event_UT[u][found.mask_UT[u]].tolist() == [*range(max(start, end - 3), end)]
    assert max(lengths) == 3
