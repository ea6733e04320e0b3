"""The worlds of the inputs: their logs and filters against enumeration and frequencies, the optimum against pairs."""

from dataclasses import replace
from itertools import combinations, pairwise, product

import numpy as np
import pytest

from dienjax.data.drift import optimal_auc, optimal_score
from experiments.inputs.channel_world import PURCHASE, ChannelWorld
from experiments.inputs.gap_world import GapWorld
from experiments.inputs.tag_world import TagWorld

GAPS = GapWorld(users=40, events=4, categories=3, items=6, spans=((1, 9), (20, 90)), noise=0.3, seed=1)
TAGS = TagWorld(users=40, events=4, tags=3, items=7, most=2, stays=0.6, seed=1)
CHANNELS = ChannelWorld(users=40, events=5, categories=4, items=8, interests=3, buys=0.4, seed=1)
CASES = [(GAPS, True), (GAPS, False), (TAGS, True), (CHANNELS, True), (CHANNELS, False)]


def of_one(log, user):
    return log[log["user"] == user]


# --- P(the items of a history, and the last one) by summing over all that is hidden ---


def gap_joint(world, events, seen):
    time_T = events["time"].to_numpy()
    known = np.digitize(
        np.diff(time_T), [(a[1] + b[0]) / 2 for a, b in zip(world.spans, world.spans[1:], strict=False)]
    )
    joint_V = np.zeros(world.items)

    def emitted(place, v):
        own = world.category_V[v] == world.ring_C[place % world.categories]
        return (1 - world.noise) * own * world.categories / world.items + world.noise / world.items

    items = events["item"].to_list()[:-1]
    for start in range(world.categories):
        for steps in [tuple(known)] if seen else product(range(len(world.spans)), repeat=len(items)):
            place_T = start + np.append(0, np.cumsum(steps))
            mass = np.prod([emitted(place, v) for place, v in zip(place_T[:-1], items, strict=True)])
            joint_V += mass * np.array([emitted(place_T[-1], v) for v in range(world.items)])
    return joint_V


def tag_joint(world, events, seen):
    has_VG = world.has_VG
    joint_V, items = np.zeros(world.items), events["item"].to_list()[:-1]
    for tags in product(range(world.tags), repeat=len(items) + 1):
        mass = np.prod([world.stays * (a == b) + (1 - world.stays) / world.tags for a, b in pairwise(tags)])
        mass *= np.prod([has_VG[v, g] / has_VG[:, g].sum() for v, g in zip(items, tags, strict=False)])
        joint_V += mass * has_VG[:, tags[-1]] / has_VG[:, tags[-1]].sum()
    return joint_V


def channel_joint(world, events, seen):
    category_T = world.category_V[events["item"]][:-1]
    known = tuple(events["type"] == PURCHASE)[:-1]
    joint_C = np.zeros(world.categories)
    for own in combinations(range(world.categories), world.interests):
        for bought in [known] if seen else product((True, False), repeat=len(category_T)):
            mass = np.prod([world.buys if b else 1 - world.buys for b in bought])
            wanted = set(own)
            for category, buys in zip(category_T, bought, strict=True):
                mass *= (category in wanted) / len(wanted)
                wanted = set(own) - {category} if buys else wanted
            joint_C[list(wanted)] += mass / len(wanted)
    return joint_C[world.category_V]


@pytest.mark.parametrize(("world", "seen"), CASES)
def test_the_filter_equals_enumeration(world, seen):
    joint = {GapWorld: gap_joint, TagWorld: tag_joint, ChannelWorld: channel_joint}[type(world)]
    log = world.log()
    p_UV = world.next_item(log, seen)
    assert p_UV.shape == (40, world.items)
    for user in range(40):
        joint_V = joint(world, of_one(log, user), seen)
        np.testing.assert_allclose(p_UV[user], joint_V / joint_V.sum(), atol=1e-12)


@pytest.mark.parametrize(("world", "seen"), CASES)
def test_the_log_has_the_stated_probabilities(world, seen):
    """Whatever the history, the last items are as frequent as the filter says."""
    world = replace(world, users=60_000, events=3)
    log = world.log()
    p_UV, item_U = world.next_item(log, seen).round(9), log["item"].to_numpy().reshape(-1, 3)[:, -1]
    rows, group_U = np.unique(p_UV, axis=0, return_inverse=True)
    group_U = group_U.ravel()  # NumPy 2.0 keeps the axis
    assert len(rows) > 3
    for p_V, count in zip(rows, range(len(rows)), strict=True):
        item = item_U[group_U == count]
        error_V = np.bincount(item, minlength=world.items) / len(item) - p_V
        assert (np.abs(error_V) <= 4.5 * np.sqrt(p_V * (1 - p_V) / len(item)) + 1e-12).all()


@pytest.mark.parametrize("world", [GAPS, TAGS, CHANNELS])
def test_the_log_is_in_order_and_a_function_of_the_parameters(world):
    log = world.log()
    assert len(log) == 40 * world.events and log.equals(replace(world).log())
    assert not log.equals(replace(world, seed=2).log())
    assert not log.duplicated(["user", "time"]).any() and log.equals(log.sort_values(["user", "time"]))
    assert "tags" in log or (log["category"] == world.category_V[log["item"]]).all()
    fewer = log[log["user"] % 3 == 0]
    np.testing.assert_allclose(
        world.next_item(fewer), world.next_item(log)[::3], atol=1e-15, err_msg="of others nothing is read"
    )


def test_gaps_are_of_the_spans():
    log = GapWorld(users=500).log()
    gap = np.diff(log["time"].to_numpy().reshape(500, -1)).ravel()
    within = np.array([(gap >= low - 1) & (gap <= high) for low, high in GapWorld.spans])
    assert within.any(axis=0).all()
    np.testing.assert_allclose(within.mean(axis=1), 1 / 3, atol=0.02)


def test_tags_are_lists_of_one_or_two():
    world = TagWorld(users=300, items=2000)
    log = world.log()
    assert {len(tags) for tags in log["tags"]} == {1, 2}
    assert all(
        world.has_VG[item].nonzero()[0].tolist() == tags for item, tags in zip(log["item"], log["tags"], strict=True)
    )
    np.testing.assert_allclose(world.has_VG.sum(axis=0) / 2000, 1.5 / 12, atol=0.03)


def test_a_purchase_rests_until_the_next():
    log = ChannelWorld(users=300, interests=3, buys=0.3).log()
    bought = log["type"] == PURCHASE
    assert abs(bought.mean() - 0.3) < 0.03
    last = log["category"].where(bought).groupby(log["user"]).transform(lambda column: column.ffill().shift())
    assert not (log["category"] == last).any()
    assert (log.groupby("user")["category"].nunique() <= 3).all()


@pytest.mark.parametrize("world", [GapWorld(users=2000), TagWorld(users=2000, items=1000), ChannelWorld(users=2000)])
def test_the_optimum_is_what_the_best_score_reaches_on_drawn_pairs(world):
    log, rng = world.log(), np.random.default_rng(0)
    q_V = np.bincount(log["item"], minlength=world.items) / len(log)
    p_UV, positive_U = world.next_item(log), log["item"].to_numpy().reshape(2000, -1)[:, -1]
    negative_U = positive_U.copy()
    while (same := negative_U == positive_U).any():
        negative_U[same] = rng.choice(world.items, same.sum(), p=q_V)
    row, score_UV = np.arange(2000), optimal_score(p_UV, q_V)
    above, below = score_UV[row, positive_U], score_UV[row, negative_U]
    wins_UU = (above[:, None] > below) + (above[:, None] == below) / 2
    error = np.sqrt((wins_UU.mean(axis=1).var() + wins_UU.mean(axis=0).var()) / 2000)
    assert error < 0.01
    assert abs(wins_UU.mean() - optimal_auc(p_UV, q_V)) < 3 * error


def test_who_sees_no_tags_knows_the_popularity_alone():
    log = replace(TAGS, users=30_000).log()
    found_V = np.bincount(log["item"], minlength=7) / len(log)
    np.testing.assert_allclose(TAGS.next_item(log[:8], seen=False), [found_V] * 2, atol=0.006)
    assert 0.5 <= optimal_auc(TAGS.next_item(log[:8], seen=False), TAGS.popularity_V) < 0.6


@pytest.mark.parametrize("world", [GapWorld(users=600), ChannelWorld(users=600)])
def test_seeing_is_worth_a_lot(world):
    log = world.log()
    q_V = np.bincount(log["item"], minlength=world.items)
    seen, not_seen = (optimal_auc(world.next_item(log, seen), q_V) for seen in (True, False))
    assert 0.7 < not_seen < seen - 0.07 < 0.95
