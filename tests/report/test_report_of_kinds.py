"""A report of a store with every kind of field: its values have names, and sets count in each of their values."""

import json

import numpy as np
import pandas as pd
import pytest
from every_kind import logs, prepared
from explored import random_run
from test_write import Numbers

from dienjax import prepare, write_report
from dienjax.data.split import StoreSplit
from dienjax.report import slices
from dienjax.report.baselines import _share_an_id
from dienjax.report.describe import describe_file
from dienjax.report.evolution import frequent_behaviours
from dienjax.report.naming import Names
from dienjax.report.scored import scored
from dienjax.report.slices import ids_of
from dienjax.training.metrics import auc


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    return random_run(prepared(folder, *logs()), folder)


def test_names(run):
    names, hidden = Names(run.store()), Names(run.store(), anonymous=True)
    id_of = run.store().vocabulary("tags").set_index("value")["id"]
    sets = np.array([[id_of["red"], id_of["dark"]], [1, 0], [0, 0]])
    assert names.values("tags", sets) == ["red, dark", "unknown", "none"]
    assert names.ids("tags", sets[0]) == ["red", "dark"]
    assert hidden.values("tags", sets[1:]) == ["unknown", "none"]
    assert hidden.values("tags", np.array([[2, 3]])) == ["tags 2, tags 3"]
    assert names.values("site", np.array([7, 1])) == ["site 7", "unknown"], "of a hash no value is known"
    low, high = run.schema.table("stars").edges
    stars = names.values("stars", np.array([1, 2, 3, 4]))
    assert stars == ["missing", f"below {low:g}", f"{low:g} to {high:g}", f"{high:g} or more"]
    assert hidden.values("stars", np.array([1, 3])) == ["missing", "stars 3"]
    assert names.values("price", np.array([2.5, np.nan])) == ["2.5", "missing"]
    assert hidden.values("price", np.array([2.5, np.nan])) == ["hidden"] * 2


def test_a_set_counts_in_each_of_its_values(run, monkeypatch):
    monkeypatch.setattr(slices, "LEAST", 5)
    one = scored(run, run.store(), "test")
    for field in ("tags", "hobbies", "places", "site"):
        array = one.store.users[field][one.user_M] if field == "hobbies" else one.candidate(field)
        rows = array.tolist() if array.ndim > 1 else [[id] for id in array]
        want = {(m, id) for m, row in enumerate(rows) for id in row if id}
        row_L, id_L = ids_of(one, field)
        assert set(zip(row_L.tolist(), id_L.tolist(), strict=True)) == want and len(row_L) == len(want)
    row_L, id_L = ids_of(one, "hobbies")
    rows = {id: row_L[id_L == id] for id in set(id_L.tolist())}
    aucs = {
        id: auc(one.logit_M[m], one.label_M[m]) for id, m in rows.items() if 5 <= one.label_M[m].sum() <= len(m) - 5
    }
    worst_W, able = slices.worst(one, row_L, id_L)
    assert able == len(aucs) > 1 and worst_W.tolist() == sorted(aucs, key=lambda id: aucs[id])


def test_sets_that_share_a_value():
    candidate_BKM, history_BTM = np.array([[[2, 3], [4, 0], [0, 0]]]), np.array([[[3, 2], [5, 0], [0, 0], [4, 3]]])
    want = [[[True, False, False, True], [False, False, False, True], [False] * 4]]
    assert _share_an_id(candidate_BKM, history_BTM).tolist() == want
    assert _share_an_id(np.array([[2, 3]]), np.array([[3, 0]])).tolist() == [[[False, False], [True, False]]]


def test_the_page(run, tmp_path):
    for module in ("altair", "jinja2", "vl_convert"):
        pytest.importorskip(module)
    for anonymous in (False, True):
        file = write_report([run.path], tmp_path / f"{anonymous}.html", progress=False, anonymous=anonymous)
        found = json.dumps(Numbers(file).found)
        assert ("site 7" in found) and ("red, " in found) != anonymous
    users = Numbers(tmp_path / "False.html").found["explorer"]["users"]
    event = next(user["events"][0]["values"] for user in users if user["events"])
    assert [*event] == [*run.store().events]
    assert [*users[0]["candidates"][0]["values"]][: len(event)] == [*event]
    dataset = StoreSplit(run.store(), "test")
    assert {"tags", "price"} <= dataset.rows(np.arange(1), 1, 0).candidate.keys()


def test_describe(run, tmp_path):
    text = describe_file(run.path, svg=tmp_path / "model.svg")
    assert "embedder" in text
    drawn = (tmp_path / "model.svg").read_text()
    for chip in ("max of ≤ 2", "price · number or missing", "dwell · number", "sum of ≤ 2"):
        assert chip in drawn


def test_the_most_frequent_of_hashed_items(tmp_path):
    log = pd.DataFrame({"u": np.arange(60) // 6, "i": np.arange(60) % 7 * (np.arange(60) % 3), "t": np.arange(60)})
    store = prepare(log, tmp_path / "store", user="u", item="i", time="t", protocol="all", hash={"i": 40})
    count_V = np.bincount(store.events["i"][store.train_row], minlength=40)
    expected = sorted(range(40), key=lambda id: (-count_V[id], id))[:4]
    assert frequent_behaviours(store, 4)["i"].tolist() == expected
    assert (count_V[frequent_behaviours(store)["i"]] > 0).all()
