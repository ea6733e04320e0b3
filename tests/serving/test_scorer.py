"""A scorer gives the same scores in the same order, whoever computes which part."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest

from dienjax.serving import Ranker, scorer
from dienjax.serving.scorer import LEAST, Scorer

B, T = 2, 3


class Session:
    """In the place of onnxruntime's: candidate i scores states[0, 0] + i; it remembers how many each call had."""

    def __init__(self):
        self.calls = []

    def run(self, outputs, arrays):
        self.calls.append(arrays["item"].shape[1])
        if (arrays["item"] < 0).any():
            raise ArithmeticError("a negative id")
        return [arrays["states"][:, :1, 0] + arrays["item"]]


@pytest.fixture
def session(monkeypatch):
    session = Session()
    monkeypatch.setattr(scorer, "open_session", lambda file: session)
    return session


def request(K):
    return {"states": np.ones((B, T, 4))}, {"item": np.arange(B * K).reshape(B, K)}


@pytest.mark.parametrize(
    ("threads", "K", "parts"),
    [
        (1, 10 * LEAST, [10 * LEAST]),
        (2, 0, [0]),
        (2, 1, [1]),
        (2, 2 * LEAST - 1, [2 * LEAST - 1]),
        (2, 2 * LEAST, [LEAST] * 2),
        (2, 2 * LEAST + 1, [LEAST, LEAST + 1]),
        (3, 2 * LEAST + 1, [LEAST, LEAST + 1]),
        (3, 9 * LEAST, [3 * LEAST] * 3),
    ],
)
def test_candidates_are_divided(session, threads, K, parts):
    states, candidates = request(K)
    score_BK = Scorer("file", threads)(states, candidates)
    np.testing.assert_array_equal(score_BK, 1 + candidates["item"])
    assert sorted(session.calls) == parts


def test_a_caller_does_not_wait_for_busy_helpers(session):
    divided, free = Scorer("file", 2), Event()
    divided._helpers.submit(free.wait)
    states, candidates = request(2 * LEAST)
    np.testing.assert_array_equal(divided(states, candidates), 1 + candidates["item"])
    free.set()


@pytest.mark.parametrize("wrong", [0, 3 * LEAST - 1])
def test_an_error_in_any_part_reaches_the_caller(session, wrong):
    states, candidates = request(3 * LEAST)
    candidates["item"][0, wrong] = -1
    with pytest.raises(ArithmeticError, match="a negative id"):
        Scorer("file", 3)(states, candidates)


def test_many_callers_share_the_threads_of_a_ranker(exported, tiny, monkeypatch):
    monkeypatch.setattr(scorer, "LEAST", 1)
    ranker, alone = Ranker(exported, threads=3), Ranker(exported)
    history, user = (
        {"item": ["a", "b"], "category": [10, 20]},
        {"city": "Bonn", "favourite": "a", "age": 1, "hist_age": 2},
    )

    def ask(n):
        items = np.random.default_rng(n).choice(list("abcdz"), n).tolist()
        candidates = {"item": items, "category": [10] * n, "slot": [True] * n, "price": [0.5] * n}
        got_K, want_K = (one.score(history, candidates, user) for one in (ranker, alone))
        np.testing.assert_allclose(got_K, want_K, rtol=1e-6)
        return len(got_K) == n

    with ThreadPoolExecutor(8) as callers:
        assert all(callers.map(ask, range(1, 60)))
