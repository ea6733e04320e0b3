"""A ranker's scores are those of the graphs, whatever it remembers and however many threads ask."""

import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from dienjax.serving import Ranker

HISTORY = {"item": ["a", "b", "z"], "category": [10, None, 2.5]}
CANDIDATES = {
    "item": ["c", "d", "nowhere", None],
    "category": [20, 10.0, 30, None],
    "slot": [True, False, None, True],
    "price": [0.5, 1, -0.25, 0],
}
USER = {"city": "Bonn", "favourite": "c", "age": 0.5, "hist_age": -1}
EMPTY = {"item": [], "category": []}

close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def ranker(exported):
    return Ranker(exported)


@pytest.fixture
def encoded(monkeypatch):
    """A list that grows with every run of a user encoder."""
    import onnxruntime

    runs, run = [], onnxruntime.InferenceSession.run

    def counted(session, names, feed):
        if "hist_item" in feed:
            runs.append(feed)
        return run(session, names, feed)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", counted)
    return runs


def test_scores(ranker, tiny):
    score_K = ranker.score(HISTORY, CANDIDATES, USER)
    assert score_K.dtype == np.float32 and score_K.shape == (4,)
    close(score_K, tiny.expected(HISTORY, CANDIDATES, USER))
    again = ranker.score(
        history={name: np.array(values, object) for name, values in reversed(HISTORY.items())},
        candidates={name: tuple(values) for name, values in reversed(CANDIDATES.items())},
        user=dict(reversed(USER.items())),
    )
    np.testing.assert_array_equal(again, score_K)


@pytest.mark.parametrize("user", [{}, {"city": None, "favourite": "z"}, {"city": "Köln", "age": np.float32(2)}])
@pytest.mark.parametrize("history", [EMPTY, {"item": ["b"], "category": [20]}])
@pytest.mark.parametrize("K", [1, 4])
def test_scores_of_other_requests(ranker, tiny, user, history, K):
    candidates = {name: values[:K] for name, values in CANDIDATES.items()}
    close(ranker.score(history, candidates, USER | user), tiny.expected(history, candidates, USER | user))


@pytest.mark.parametrize("ids", ["int32", "int64"])
def test_ready_made_ids(tiny, tmp_path, ids):
    ranker = Ranker(tiny.write(tmp_path / "ids", vocabulary=None, ids=ids))
    history = {"item": [2, 2**32 + 2, -3, 5], "category": np.array([4, 1, 0, 2**40])}
    candidates = {"item": [3, 6, None, -(2**63)], "category": [4, 5, 2, 1], "slot": [0, 1, 2, 3], "price": [0.0] * 4}
    user = {**USER, "city": 0, "favourite": np.int64(2**31)}
    close(ranker.score(history, candidates, user), tiny.expected(history, candidates, user, vocabulary=None))
    close(ranker.score(EMPTY, candidates, user), tiny.expected(EMPTY, candidates, user, vocabulary=None))
    with pytest.raises(ValueError, match=r"history\['item'\]\[1\] is 0, the id of padding"):
        ranker.score({"item": [1, 0], "category": [1, 0]}, candidates, user)


@pytest.mark.parametrize("user", [None, {}])
def test_no_features_and_regression(tiny, tmp_path, user):
    ranker = Ranker(tiny.write(tmp_path / "plain", schema=tiny.plain, task="regression"), threads=2)
    history, candidates = {"item": ["a", "c"]}, {"item": ["d", "a", None]}
    close(ranker.score(history, candidates, user), tiny.expected(history, candidates, task="regression"))
    assert ranker.task == "regression"
    with pytest.raises(ValueError, match=r"user\['age'\] is not a field of the model; known names: none"):
        ranker.score(history, candidates, {"age": 1})


def test_weights_beside_the_graph(tiny, tmp_path):
    ranker = Ranker(tiny.write(tmp_path / "external", external=True))
    close(ranker.score(HISTORY, CANDIDATES, USER), tiny.expected(HISTORY, CANDIDATES, USER))


def test_a_long_history_is_cut_with_a_warning(ranker, tiny):
    histories = [{"item": list("abcdab")[:T], "category": [10, 20, 10, 10, 2.5, 30][:T]} for T in (4, 5, 6)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for history in histories:
            close(ranker.score(history, CANDIDATES, USER), tiny.expected(history, CANDIDATES, USER))
        ranker.top(1, histories[1], CANDIDATES, USER)
    assert [w.filename for w in caught] == [__file__] * 2, "once for each line of the caller"
    assert "longer than the 4 events that the model reads" in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ranker.score(histories[0], CANDIDATES, USER)


def test_top(ranker, tiny):
    best = np.argsort(-ranker.score(HISTORY, CANDIDATES, USER))
    top = ranker.top(10, HISTORY, CANDIDATES, USER)
    assert [position for position, _ in top] == best.tolist()
    close([score for _, score in top], tiny.expected(HISTORY, CANDIDATES, USER)[best])
    assert all(type(position) is int and type(score) is float for position, score in top)
    assert ranker.top(2, HISTORY, candidates=CANDIDATES, user=USER) == top[:2]
    for n in (0, -1):
        with pytest.raises(ValueError, match=f"n is {n}; expected at least 1"):
            ranker.top(n, HISTORY, CANDIDATES, USER)


def test_top_breaks_ties_by_position(ranker):
    alike = {"item": ["b", *"a" * 40], "category": [10] * 41, "slot": [True] * 41, "price": [-9] + [0] * 40}
    assert [position for position, _ in ranker.top(30, HISTORY, alike, USER)] == list(range(1, 31))


def test_wrong_requests(ranker):
    with pytest.raises(ValueError, match=r"candidates: every list is empty; expected at least one candidate"):
        ranker.score(HISTORY, {name: [] for name in CANDIDATES}, USER)
    with pytest.raises(ValueError, match=r"candidates\['item'\] has length 4, but candidates\['price'\] has 1"):
        ranker.score(HISTORY, CANDIDATES | {"price": [1]}, USER)
    with pytest.raises(ValueError, match=r"history\['item'\] has length 3, but history\['category'\] has 1"):
        ranker.score(HISTORY | {"category": [10]}, CANDIDATES, USER)
    with pytest.raises(ValueError, match=r"user\['city'\] is missing; got the fields \[\], expected \['city'"):
        ranker.score(HISTORY, CANDIDATES)
    with pytest.raises(ValueError, match=r"candidates\['slot'\] is missing"):
        ranker.score(HISTORY, HISTORY, USER)
    with pytest.raises(ValueError, match=r"history\['hist_item'\] is not a field of the model; did you mean 'item'"):
        ranker.score({**HISTORY, "hist_item": ["a"]}, CANDIDATES, USER)
    with pytest.raises(
        TypeError, match=r"history\['category'\]\[0\] is 'x' of type str; the log held numbers such as 10"
    ):
        ranker.score({"item": ["a"], "category": ["x"]}, CANDIDATES, USER)
    with pytest.raises(TypeError, match="history is of type NoneType"):
        ranker.score(None, CANDIDATES, USER)


def test_a_user_is_encoded_once(exported, encoded, tiny):
    ranker = Ranker(exported)
    for _ in range(3):
        close(ranker.score(HISTORY, CANDIDATES, USER), tiny.expected(HISTORY, CANDIDATES, USER))
    assert len(encoded) == 1
    # What the model reads is the same, though it was written otherwise.
    ranker.score({"item": ["a", "b", "new"], "category": (10.0, 7, 2.5)}, CANDIDATES, USER | {"age": 1 / 2})
    assert len(encoded) == 1


@pytest.mark.parametrize(
    ("history", "user"),
    [
        ({"item": ["a", "b", "c"]}, {}),
        ({"item": ["b", "a", "z"]}, {}),
        ({"item": ["a", "b"], "category": [10, None]}, {}),
        (EMPTY, {}),
        ({}, {"age": 0.75}),
        ({}, {"age": -1, "hist_age": 0.5}),
        ({}, {"city": "Köln"}),
        ({}, {"favourite": None}),
    ],
)
def test_a_changed_user_is_another(exported, encoded, tiny, history, user):
    ranker = Ranker(exported)
    for h, u in ((HISTORY, USER), (HISTORY | history, USER | user), (HISTORY, USER)):
        close(ranker.score(h, CANDIDATES, u), tiny.expected(h, CANDIDATES, u))
    assert len(encoded) == 2


def test_the_user_used_longest_ago_is_forgotten(exported, encoded):
    ranker = Ranker(exported, cached_users=2)
    for age in (1, 2, 1, 3, 1, 2):  # 3 takes the place of 2
        ranker.score(HISTORY, CANDIDATES, USER | {"age": age})
    assert [feed["age"].item() for feed in encoded] == [1, 2, 3, 2]


def test_no_cache(exported, encoded, tiny):
    ranker = Ranker(exported, cached_users=0)
    for _ in range(3):
        close(ranker.score(HISTORY, CANDIDATES, USER), tiny.expected(HISTORY, CANDIDATES, USER))
    assert len(encoded) == 3


@pytest.mark.parametrize("cached_users", [0, 5])
def test_many_threads_share_a_ranker(exported, tiny, cached_users):
    ranker = Ranker(exported, cached_users=cached_users)
    rng = np.random.default_rng(0)
    requests = []
    for i in range(40):
        T, K = rng.integers(0, 5), rng.integers(1, 5)
        history = {"item": rng.choice(list("abcdz"), T).tolist(), "category": rng.choice([10, 20, 30], T)}
        candidates = {name: values[:K] for name, values in CANDIDATES.items()}
        requests.append((history, candidates, USER | {"age": i / 40}))
    expected = [tiny.expected(*request) for request in requests]

    def ask(thread):
        for i in np.random.default_rng(thread).integers(0, len(requests), 300):
            close(ranker.score(*requests[i]), expected[i])
        return True

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(8)))


def test_facts(ranker, exported, tiny):
    assert (ranker.schema, ranker.task, ranker.max_len) == (tiny.schema, "binary", 4)
    for name in ("schema", "task", "max_len"):
        with pytest.raises(AttributeError):
            setattr(ranker, name, None)
    assert repr(ranker) == (
        f"Ranker({str(exported)!r}, binary: history=['item', 'category'] of up to 4, "
        "candidates=['item', 'category', 'slot', 'price'], user=['city', 'favourite', 'age', 'hist_age'])"
    )


def test_wrong_arguments(exported, tmp_path):
    with pytest.raises(ValueError, match="threads is 0; expected at least 1"):
        Ranker(exported, threads=0)
    with pytest.raises(ValueError, match="cached_users is -1; expected at least 0"):
        Ranker(exported, cached_users=-1)
    with pytest.raises(FileNotFoundError, match="expected the folder of an export"):
        Ranker(tmp_path)


def test_onnxruntime_is_not_installed(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install onnxruntime"):
        Ranker(exported)


def test_serving_loads_nothing_heavy(exported):
    script = (
        "import sys; from dienjax.serving import Ranker; before = {*sys.modules}\n"
        f"print(Ranker(sys.argv[1]).score({HISTORY}, {CANDIDATES}, {USER}).shape)\n"
        "print(sorted({'onnx', 'onnxruntime'} & before))\n"
        "print(sorted({'jax', 'flax', 'pandas', 'pyarrow', 'onnx', 'dienjax.batch'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script, exported], capture_output=True, text=True, check=True)
    assert done.stdout == "(4,)\n[]\n[]\n"
