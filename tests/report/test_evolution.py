"""What the explorer tells is what the model computes, found in other ways."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from explored import GATED, JUDGING, MODELS, impressions_store, random_run

from dienjax import explain
from dienjax.report import cases as cases_module
from dienjax.report.cases import cases
from dienjax.report.evolution import evolve, frequent_behaviours
from dienjax.report.scored import scored
from dienjax.training.run import Run


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Several behaviours, context and user features, histories from 0 events on."""
    return impressions_store(tmp_path_factory.mktemp("evolution"))


@pytest.fixture(scope="module", params=MODELS)
def found(store, tmp_path_factory, request):
    """For each model: its name, a run, the cases and what it makes of them."""
    one = scored(random_run(store, tmp_path_factory.mktemp("runs"), request.param), store, "test")
    chosen = cases([one])
    return request.param, one, chosen, evolve(one, chosen, frequent_behaviours(store, 7))


@functools.cache
def variables(path):
    return Run.open(path).variables()


def seen_in(run, batch):
    return explain(run, batch, variables(run.path)).arrays


def batch_of(one, chosen, end_U):
    """The chosen users' candidates after the events before `end_U`, gathered one by one."""
    batch = one.dataset.rows(chosen.row_U, 8, 0)
    history, mask_BT = (
        {name: np.zeros_like(value) for name, value in batch.history.items()},
        np.zeros_like(batch.mask_BT),
    )
    for u, user in enumerate(chosen.user_U):
        rows = [*range(one.store.offsets[user], end_U[u])][-one.run.config.data.max_len :]
        mask_BT[u, : len(rows)] = True
        for name, value in history.items():
            value[u, : len(rows)] = one.store.events[name][rows]
    return replace(
        batch, history=history, mask_BT=mask_BT, candidate=chosen.candidate, mask_BK=chosen.mask_UK,
        label_BK=chosen.label_UK,
    )  # fmt: skip


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(float)))


def test_probabilities_are_those_of_the_cut_histories(found):
    _, one, chosen, evolution = found
    length_U = chosen.length_U
    assert {0, 1} <= {*length_U.tolist()}
    for cut in range(chosen.mask_UT.shape[1] + 1):
        there = cut <= length_U
        arrays = seen_in(one.run, batch_of(one, chosen, chosen.end_U - length_U + np.minimum(cut, length_U)))
        expected_UK = np.where(chosen.mask_UK & there[:, None], sigmoid(arrays.logit_BK), np.nan)
        np.testing.assert_allclose(evolution.probability_UKP[:, :, cut], expected_UK, atol=2e-6)
    for u, user in enumerate(chosen.user_U):
        logits = one.logit_M[one.user_M == user]
        for probability in evolution.probability_UKP[u, chosen.mask_UK[u], length_U[u]]:
            assert np.abs(sigmoid(logits) - probability).min() < 2e-6, "the last is what evaluation scored"


def test_attention_gates_and_what_is_left(found):
    name, one, chosen, evolution = found
    arrays = seen_in(one.run, batch_of(one, chosen, chosen.end_U))
    weights = [*arrays.weight_BKT.values()]
    assert len(weights) == (3 if name == "separate" else 1)
    gates = [np.asarray(gate) for key, gate in arrays.gate_BKTH.items() if key.startswith("evolution")]
    assert (evolution.gate_UKT is not None) == (len(gates) > 0) == (name != "din")
    assert (evolution.left_UKT is not None) == (name in GATED)
    for u, length in enumerate(chosen.length_U):
        n = min(length, one.run.config.data.max_len)
        for k in range(chosen.mask_UK.shape[1]):
            real = chosen.mask_UK[u, k]
            for t in range(chosen.mask_UT.shape[1]):
                there = real and t < length and t >= length - n
                values = [
                    a[u, k, t] for a in (evolution.weight_UKT, evolution.gate_UKT, evolution.left_UKT) if a is not None
                ]
                if not there:
                    assert np.isnan(values).all()
                    continue
                s = t - (length - n)
                np.testing.assert_allclose(values[0], np.mean([w[u, k, s] for w in weights]), atol=1e-6)
                if gates:
                    at = k if gates[0].shape[1] > 1 else 0
                    np.testing.assert_allclose(values[1], np.mean([g[u, at, s].mean() for g in gates]), atol=1e-6)
                if name in GATED:
                    left = [g[u, k, s] * np.prod(1 - g[u, k, s + 1 : n], axis=0) for g in gates]
                    np.testing.assert_allclose(values[2], np.mean([part.mean() for part in left]), atol=1e-6)


def test_surprise_is_the_loss_of_the_next_event(found):
    """In the auxiliary loss of a history cut after it; separate fields are judged each on its own."""
    name, one, chosen, evolution = found
    if name not in JUDGING:
        assert evolution.surprise_UT is None
        return
    whole = chosen.end_U - chosen.length_U == one.store.offsets[chosen.user_U]
    assert whole.sum() > 5
    for u, length in enumerate(chosen.length_U):
        assert np.isnan(evolution.surprise_UT[u, length:]).all()
        if length:
            assert np.isnan(evolution.surprise_UT[u, 0]), "nothing is expected before the first event"
    for t in range(1, chosen.mask_UT.shape[1]):
        there = whole & (t < chosen.length_U)
        end_U = chosen.end_U - chosen.length_U + np.where(there, t + 1, 0)
        logit_NS = seen_in(one.run, batch_of(one, chosen, end_U)).next_logit_BS
        per_field = logit_NS.reshape(len(logit_NS), -1, 7)[there, :, t - 1]
        np.testing.assert_allclose(evolution.surprise_UT[there, t], -np.log(sigmoid(per_field)).mean(axis=1), rtol=1e-4)


def test_the_expected_items_by_appending_each_to_the_history(store, found):
    """The auxiliary logit of the last event of a longer history."""
    name, one, chosen, evolution = found
    if name not in JUDGING:
        assert evolution.nearest is None and evolution.logit_U5 is None
        return
    frequent = frequent_behaviours(store, 7)
    short = np.flatnonzero((chosen.length_U > 0) & (chosen.length_U < 8))
    assert len(short) > 2
    logit_UV = []
    for v in range(7):
        batch = batch_of(one, chosen, chosen.end_U)
        for name_, value in batch.history.items():
            value[short, chosen.length_U[short]] = frequent[name_][v]
        batch.mask_BT[short, chosen.length_U[short]] = True
        logit_NS = seen_in(one.run, batch).next_logit_BS
        per_field = logit_NS.reshape(len(logit_NS), -1, 7)
        logit_UV.append(per_field.mean(axis=1)[np.arange(len(logit_NS)), np.clip(chosen.length_U - 1, 0, 6)])
    logit_UV = np.stack(logit_UV, axis=1)
    for u in short:
        best = np.argsort(-logit_UV[u])[:5]
        np.testing.assert_allclose(evolution.logit_U5[u], logit_UV[u, best], atol=1e-5)
        assert evolution.nearest["item"][u].tolist() == frequent["item"][best].tolist()
    assert np.isnan(evolution.logit_U5[chosen.length_U == 0]).all()


def test_the_most_frequent_items_with_their_latest_fields(store):
    counts = store.vocabulary("item").sort_values(["count", "id"], ascending=[False, True])
    found = frequent_behaviours(store, 9)
    events = np.asarray(store.events["item"])
    expected = [id for id in counts["id"][:9] if id in events]
    assert found["item"].tolist() == expected
    for name in ("kind", "maker"):
        assert found[name].tolist() == [store.events[name][np.flatnonzero(events == id)[-1]] for id in expected]
    assert len(frequent_behaviours(store, 10**6)["item"]) == len({*events.tolist()} - {1})


def test_runs_that_see_less_of_a_history_stand_at_its_end(store, tmp_path, monkeypatch):
    """And events that are not shown count all the same."""
    runs = [random_run(store, tmp_path / str(n), "AUGRU", max_len=n) for n in (8, 3)]
    both = [scored(run, store, "test") for run in runs]
    chosen = cases(both)
    long = chosen.length_U == 8
    assert long.any()
    frequent = frequent_behaviours(store)
    whole, part = (evolve(one, chosen, frequent) for one in both)
    assert not np.isnan(whole.weight_UKT[long, 0]).any()
    assert np.isnan(part.weight_UKT[long, 0, :5]).all() and not np.isnan(part.weight_UKT[long, 0, 5:]).any()
    np.testing.assert_allclose(part.weight_UKT[long, 0, 5:].sum(axis=1), 1, atol=1e-5)
    assert np.isnan(part.surprise_UT[long, 5]).all() and not np.isnan(part.surprise_UT[long, 6:]).any()
    monkeypatch.setattr(cases_module, "EVENTS", 2)
    few = cases(both[:1])
    cut = evolve(both[0], few, frequent)
    assert cut.probability_UKP.shape[2] == 3
    np.testing.assert_array_equal(few.user_U, chosen.user_U)
    np.testing.assert_allclose(cut.probability_UKP[long], whole.probability_UKP[long][:, :, 6:], atol=2e-6)
    np.testing.assert_allclose(cut.weight_UKT[long], whole.weight_UKT[long][:, :, 6:], atol=1e-6)
    np.testing.assert_allclose(cut.surprise_UT[long], whole.surprise_UT[long][:, 6:], atol=1e-6)
