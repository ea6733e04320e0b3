"""The world of interests that return has the probabilities it says, and both commands make their tables."""

import itertools
import json

import numpy as np
import pytest

from experiments.long_histories import auc, cost
from experiments.long_histories.world import ReturningWorld

SMALL = ReturningWorld(users=50, events=9, categories=4, items=8, interests=2, stays=0.3, seed=1)


def by_enumeration(world, history):
    """P(next item | history), by Bayes' rule over every set of interests."""
    category_T, joint_C = world.category_V[history], np.zeros(world.categories)
    for own in itertools.combinations(range(world.categories), world.interests):
        move_C = np.isin(np.arange(world.categories), own) / world.interests

        def step(c, move_C=move_C):
            return world.stays * np.eye(world.categories)[c] + (1 - world.stays) * move_C

        likelihood = move_C[category_T[0]] * np.prod([step(a)[b] for a, b in itertools.pairwise(category_T)])
        joint_C += likelihood * step(category_T[-1])
    return (joint_C / joint_C.sum())[world.category_V] * world.categories / world.items


@pytest.mark.parametrize("history", [[3], [3, 3], [0, 4, 5], [1, 2, 1, 6, 5, 5]])
def test_the_next_item(history):
    found_V = SMALL.next_item([np.array(history)])[0]
    np.testing.assert_allclose(found_V, by_enumeration(SMALL, history), atol=1e-12)


def test_the_log():
    log = SMALL.log()
    assert len(log) == 50 * 9 and not log.duplicated(["user", "time"]).any()
    assert (log["category"] == SMALL.category_V[log["item"]]).all()
    assert log.groupby("user")["category"].nunique().max() == 2
    world = ReturningWorld(users=400, events=60, categories=20, items=40, interests=5)
    category_UT = world.log()["category"].to_numpy().reshape(400, 60)
    stays = (category_UT[:, 1:] == category_UT[:, :-1]).mean()
    assert abs(stays - (0.5 + 0.5 / 5)) < 0.01, "it stays, or moves to where it is"


def test_a_longer_memory_is_worth_more(tmp_path, capsys):
    how = {"seeds": 1, "epochs": 1, "more": 1, "users": 60, "only": ("minAUGRU",), "results": tmp_path}
    auc.main(tmp_path / "runs", (2, 8), **how)
    rows = json.loads((tmp_path / "long_histories.json").read_text())
    auc.main(tmp_path / "runs", (2, 8), **how)
    assert json.loads((tmp_path / "long_histories.json").read_text()) == rows, "what is finished is only evaluated"
    assert [(row["T"], row["kind"], len(row["seeds"])) for row in rows] == [(2, "minAUGRU", 1), (8, "minAUGRU", 1)]
    assert rows[0]["optimum"] < rows[1]["optimum"] < 1
    assert "| 8 | minAUGRU | 0." in (tmp_path / "long_histories.md").read_text()


def test_a_step_costs_time_and_memory():
    ms, temporary = cost.step(4, "minAUGRU", "threads", 2, 0.0)
    assert ms > 0 and temporary > 0
