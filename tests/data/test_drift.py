"""The drift world: its filter against enumeration and simulation, its ceiling against pairs, samples and rivals."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest

from dienjax.data.drift import NO_EVENT, DriftWorld, expected_auc, negative_mass, optimal_auc, optimal_score

TINY = DriftWorld(users=50, events_min=3, events_max=5, categories=3, items=7, successors=2, noise=0.2, seed=3)
WORLD = DriftWorld(users=1500)


def histories_of(log: pd.DataFrame) -> list[np.ndarray]:
    return [rows.to_numpy() for _, rows in log.sort_values(["user", "time"]).groupby("user")["item"]]


def draw_negatives(rng, positive_U, q_V):
    negative_U = positive_U.copy()
    while (same := negative_U == positive_U).any():
        negative_U[same] = rng.choice(len(q_V), same.sum(), p=q_V)
    return negative_U


@pytest.fixture(scope="module")
def ends():
    """WORLD's histories without their last item, that item, the true probabilities and the item frequencies."""
    log = WORLD.log()
    events = histories_of(log)
    p_UV = WORLD.next_item([e[:-1] for e in events])
    return [e[:-1] for e in events], np.array([e[-1] for e in events]), p_UV, np.bincount(log["item"], minlength=480)


# --- the world ---


def test_graph_is_a_directed_chain_with_the_stated_stationary_distribution():
    transition_CC, interest_C = WORLD.transition_CC, WORLD.interest_C
    np.testing.assert_allclose(transition_CC.sum(axis=1), 1)
    np.testing.assert_allclose(np.diag(transition_CC), WORLD.persistence)
    edge_CC = (transition_CC > 0) & ~np.eye(24, dtype=bool)
    assert (edge_CC.sum(axis=1) == 3).all() and not (edge_CC & edge_CC.T).any()
    np.testing.assert_allclose(
        np.sort(transition_CC[edge_CC].reshape(24, 3)), np.tile(np.array([0.4, 0.8, 1.6]) / 7, (24, 1))
    )
    np.testing.assert_allclose(interest_C @ transition_CC, interest_C, atol=1e-12)
    np.testing.assert_allclose(np.bincount(WORLD.category_V, WORLD.share_V), 1)
    np.testing.assert_allclose(WORLD.popularity_V.sum(), 1)


@pytest.mark.parametrize("successors", [1, 2, 8, 23])
def test_every_category_is_reached_from_every_other(successors):
    world = DriftWorld(successors=successors)
    assert np.linalg.matrix_power(world.transition_CC, 24).min() > 0
    assert world.interest_C.min() > 0


def test_log_has_the_promised_columns_lengths_and_categories():
    log = WORLD.log()
    assert list(log.columns) == ["user", "item", "category", "time"]
    assert all(dtype.kind == "i" for dtype in log.dtypes)
    length_U = log.groupby("user").size()
    assert list(length_U.index) == list(range(1500)) and set(length_U) == set(range(12, 41))
    np.testing.assert_array_equal(log["category"], WORLD.category_V[log["item"]])
    assert log["time"].is_monotonic_increasing and not log.duplicated(["user", "time"]).any()


def test_log_is_a_function_of_the_parameters():
    pd.testing.assert_frame_equal(TINY.log(), replace(TINY).log())
    assert not TINY.log().equals(replace(TINY, seed=4).log())
    assert (DriftWorld(seed=0).transition_CC != DriftWorld(seed=1).transition_CC).any()
    # The truth does not depend on how much of it was logged.
    np.testing.assert_array_equal(replace(TINY, users=9).next_item([[0, 1]]), TINY.next_item([[0, 1]]))


def test_events_follow_the_chain_and_the_popularity():
    world = DriftWorld(users=4000, events_min=20, events_max=20, categories=4, items=9, successors=1, noise=0.0)
    category_UT = world.category_V[np.array(histories_of(world.log()))]
    moved_CC = np.zeros((4, 4))
    np.add.at(moved_CC, (category_UT[:, :-1], category_UT[:, 1:]), 1)
    np.testing.assert_allclose(moved_CC / moved_CC.sum(axis=1, keepdims=True), world.transition_CC, atol=0.015)
    # Stationary from the first event on, and whether an event shows the interest or the global popularity.
    world = DriftWorld(users=40_000, events_min=1, events_max=1, categories=6, items=9, successors=2)
    for noise in (0.0, 1.0):
        world = replace(world, noise=noise)
        item = world.log()["item"]
        np.testing.assert_allclose(np.bincount(item) / len(item), world.popularity_V, atol=0.01)


# --- the filter ---


def enumerated_next_item(world: DriftWorld, history: list[int]) -> np.ndarray:
    """p(next item | history) `[V]` by summing over every path of interests."""
    emission_CV = (np.arange(world.categories)[:, None] == world.category_V) * world.share_V
    emission_CV = (1 - world.noise) * emission_CV + world.noise * world.popularity_V
    joint_V = np.zeros(world.items)
    for path in product(range(world.categories), repeat=len(history) + 1):
        mass = world.interest_C[path[0]]
        for t, item in enumerate(history):
            mass *= emission_CV[path[t], item] * world.transition_CC[path[t], path[t + 1]]
        joint_V += mass * emission_CV[path[-1]]
    return joint_V / joint_V.sum()


@pytest.mark.parametrize("history", [[0, 6, 3, 3, 1], [2, 2, 2, 2, 2], [5, 0], [4]])
def test_filter_equals_enumeration_of_the_paths(history):
    np.testing.assert_allclose(TINY.next_item([history])[0], enumerated_next_item(TINY, history), rtol=1e-12)


def test_an_empty_history_gives_the_prior():
    p_UV = TINY.next_item([[], [1, 2]])
    np.testing.assert_allclose(p_UV[0], TINY.popularity_V, rtol=1e-12)
    np.testing.assert_array_equal(p_UV[0], TINY.next_item(np.empty((1, 0), int))[0])
    assert TINY.next_item([]).shape == (0, 7)


def test_padding_and_the_other_rows_change_nothing():
    alone_V = TINY.next_item([[0, 6, 3]])[0]
    pad = NO_EVENT
    for row in ([0, 6, 3, pad, pad], [pad, pad, 0, 6, 3]):
        np.testing.assert_allclose(TINY.next_item(np.array([[1, 1, 1, 1, 1], row]))[1], alone_V, rtol=1e-14)


def test_next_item_is_a_distribution(ends):
    p_UV = ends[2]
    assert p_UV.shape == (1500, 480) and p_UV.min() > 0
    np.testing.assert_allclose(p_UV.sum(axis=1), 1)


def test_next_item_is_calibrated_against_simulation():
    world = DriftWorld(users=60_000, events_min=3, events_max=3, categories=3, items=3, successors=1, noise=0.3)
    item_UT = np.array(histories_of(world.log()))
    for first, second in product(range(3), repeat=2):
        third = item_UT[(item_UT[:, 0] == first) & (item_UT[:, 1] == second), 2]
        p_V = world.next_item([[first, second]])[0]
        error_V = np.bincount(third, minlength=3) / len(third) - p_V
        assert (np.abs(error_V) < 4 * np.sqrt(p_V * (1 - p_V) / len(third))).all()


# --- the ceiling ---


def test_negative_mass_equals_the_sum_over_positives(ends):
    p_UV, q_V = TINY.next_item([[0, 6], [3]]), np.array([3.0, 1, 0, 2, 5, 1, 4]) / 16
    expected_UV = [[sum(p[i] * q_V[c] / (1 - q_V[i]) for i in range(7) if i != c) for c in range(7)] for p in p_UV]
    np.testing.assert_allclose(negative_mass(p_UV, q_V), expected_UV, rtol=1e-12)
    np.testing.assert_allclose(negative_mass(p_UV, 16 * q_V), expected_UV, rtol=1e-12)
    np.testing.assert_allclose(negative_mass(ends[2], ends[3]).sum(axis=1), 1)


def test_expected_auc_equals_enumeration_of_the_pairs_with_ties():
    p_UV, q_V = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]), np.array([0.2, 0.3, 0.5])
    score_UV = np.array([[2.0, 1.0, 1.0], [0.0, 2.0, np.inf]])
    negative_UV = negative_mass(p_UV, q_V)
    for score in (score_UV, optimal_score(p_UV, q_V), np.zeros((2, 3))):
        enumerated = sum(
            p / 2 * n / 2 * ((s > r) + (s == r) / 2)
            for p, s in zip(p_UV.flat, score.flat, strict=True)
            for n, r in zip(negative_UV.flat, score.flat, strict=True)
        )
        assert expected_auc(score, p_UV, q_V) == pytest.approx(enumerated, rel=1e-12)
    assert expected_auc(np.zeros((2, 3)), p_UV, q_V) == pytest.approx(0.5)


def test_optimal_score_where_a_candidate_can_only_be_one_or_neither():
    p_UV, q_V = np.array([[1.0, 0.0, 0.0, 0.0]]), np.array([0.5, 0.25, 0.25, 0.0])
    np.testing.assert_array_equal(optimal_score(p_UV, q_V), [[np.inf, 0, 0, 0]])
    assert optimal_auc(p_UV, q_V) == 1.0


def test_realised_auc_of_the_optimal_score_meets_the_expectation(ends):
    _, positive_U, p_UV, q_V = ends
    negative_U = draw_negatives(np.random.default_rng(0), positive_U, q_V / q_V.sum())
    row, score_UV = np.arange(len(p_UV)), optimal_score(p_UV, q_V)
    above, below = score_UV[row, positive_U], score_UV[row, negative_U]
    wins_UU = (above[:, None] > below) + (above[:, None] == below) / 2
    # A positive and the negative of the same row are nearly independent: the two-sample standard error of DeLong.
    error = np.sqrt((wins_UU.mean(axis=1).var() + wins_UU.mean(axis=0).var()) / len(row))
    assert error < 0.01
    assert abs(wins_UU.mean() - optimal_auc(p_UV, q_V)) < 3 * error


def test_nothing_beats_the_optimum_and_order_is_worth_a_lot(ends):
    histories, _, p_UV, q_V = ends
    best, score_UV = optimal_auc(p_UV, q_V), optimal_score(p_UV, q_V)
    assert 0.85 < best < 0.92
    assert expected_auc(np.log(score_UV), p_UV, q_V) == pytest.approx(best, abs=1e-9)
    rng = np.random.default_rng(0)
    for scale in (0.01, 0.3, 2.0):
        assert expected_auc(score_UV * np.exp(scale * rng.normal(size=score_UV.shape)), p_UV, q_V) < best
    last_UC, count_UC = np.zeros((2, len(histories), 24))
    for u, history in enumerate(histories):
        count_UC[u] = np.bincount(WORLD.category_V[history], minlength=24) / len(history)
        last_UC[u, WORLD.category_V[history[-1]]] = 1
    last = expected_auc((last_UC @ WORLD.transition_CC / WORLD.interest_C)[:, WORLD.category_V], p_UV, q_V)
    count = expected_auc(count_UC[:, WORLD.category_V], p_UV, q_V)
    # The memory of one event misses part of the optimum, the bag of all of them most of it.
    assert count + 0.15 < last < best - 0.01


# --- wrong input ---


@pytest.mark.parametrize(
    "change",
    [
        {"users": 0},
        {"events_min": 0},
        {"events_min": 41},
        {"categories": 1},
        {"items": 23},
        {"zipf": -1.0},
        {"persistence": 1.0},
        {"successors": 24},
        {"noise": 1.1},
    ],
)
def test_a_wrong_parameter_is_named(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))} is .*, expected"):
        DriftWorld(**change)


@pytest.mark.parametrize("histories", [[[0, 7]], [[-2]], [[0.5]], [0, 1], np.zeros((2, 3)), np.zeros((2, 3, 4), int)])
def test_histories_that_are_not_items_of_the_world_are_refused(histories):
    with pytest.raises(ValueError, match="histories"):
        TINY.next_item(histories)


def test_a_history_from_another_world_is_refused():
    ring = DriftWorld(categories=4, items=4, successors=1, persistence=0.0, noise=0.0)
    with pytest.raises(ValueError, match="history 1 cannot occur"):
        ring.next_item([[2], [2, 2]])


def test_masses_that_make_no_auc_are_refused():
    p_UV, q_V = np.full((1, 2), 0.5), np.full(2, 0.5)
    for p, q in [(p_UV * 2, q_V), (p_UV, np.ones(3)), (p_UV, [1.0, 0.0]), (p_UV, [2.0, -1.0]), (p_UV, [0.0, 0.0])]:
        with pytest.raises(ValueError, match=r"[pq]_"):
            optimal_auc(np.asarray(p), np.asarray(q))
    for score in (np.zeros((2, 1)), np.full((1, 2), np.nan)):
        with pytest.raises(ValueError, match="score_UV"):
            expected_auc(score, p_UV, q_V)
    with pytest.raises(ValueError, match="at least one row"):
        optimal_auc(np.empty((0, 2)), q_V)


def test_the_smallest_world():
    world = DriftWorld(users=1, events_min=1, events_max=1, categories=2, items=2, successors=1)
    assert len(world.log()) == 1
    np.testing.assert_allclose(world.next_item([[]]), [[0.5, 0.5]])
