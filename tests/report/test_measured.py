"""The sections of runs hold what was measured, whatever the run and the data are like."""

import json
import tomllib
from dataclasses import asdict

import jax
import numpy as np
import pytest
from measured_runs import CONFIG, REGRESSION, awkward_store, made_up
from sklearn.metrics import roc_auc_score

from dienjax import Config, DataConfig, ModelConfig, fit_store
from dienjax.inspection.facts import inspect
from dienjax.report.measured import sections
from dienjax.report.naming import Names
from dienjax.report.scored import scored
from dienjax.report.section import Chart, Interval, Picture, Section, Table, Text
from dienjax.training import metrics
from dienjax.training.progress import read_metrics
from dienjax.training.run import versions

pytest.importorskip("altair")

BINARY = [
    "headline", "baselines", "learning", "ranking", "calibration", "distribution", "groups", "slices", "mistakes",
    "cost", "store", "config", "model", "versions",
]  # fmt: skip


def checked(found: list[Section]) -> dict[str, Section]:
    """The sections by name, after what a page relies on."""
    names = [section.name for section in found]
    blocks = [block for section in found for block in section.blocks]
    identifiers = names + [block.name for block in blocks if isinstance(block, Chart | Picture)]
    assert len({*names}) == len(names) and all(name.replace("-", "").isalnum() for name in identifiers)
    charts = [block.name for block in blocks if isinstance(block, Chart)]
    assert len({*charts}) == len(charts)
    for section in found:
        json.dumps(section.numbers, allow_nan=False)
    for block in blocks:
        if isinstance(block, Table):
            assert block.rows and {len(row) for row in block.rows} == {len(block.columns)}, block.caption
            assert all(isinstance(cell, str | int | float | Interval | None) for row in block.rows for cell in row)
        if isinstance(block, Chart):
            json.dumps(block.spec, allow_nan=False)
            assert block.title and block.description
        if isinstance(block, Text):
            assert block.text
    return dict(zip(names, found, strict=True))


@pytest.fixture(scope="module")
def awkward(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    return made_up(awkward_store(folder / "store"), folder / "run")


@pytest.fixture(scope="module")
def of_awkward(awkward):
    return checked(sections([awkward], Names(awkward.store), replicates=50))


@pytest.fixture(scope="module")
def of_one(run, drift_store):
    return checked(sections([scored(run, drift_store, "test")], Names(drift_store), replicates=50))


def test_one_run(of_one, run, drift_store):
    assert list(of_one) == BINARY
    assert [name for name, section in of_one.items() if section.folded] == ["store", "config", "model", "versions"]


def test_what_a_page_is_about(of_one, run, drift_store):
    assert of_one["store"].numbers == asdict(inspect(drift_store))
    assert "next: dienjax train" not in of_one["store"].blocks[0].text
    settings = tomllib.loads(of_one["config"].blocks[-1].text)
    assert Config.from_dict(settings).to_dict() == run.config.to_dict()
    assert settings == json.loads(json.dumps(of_one["config"].numbers["run"]))
    leaves = jax.tree.leaves(run.variables()["params"])
    assert of_one["model"].numbers["parameters"] == {"run": sum(leaf.size for leaf in leaves)}
    assert of_one["model"].blocks[1].svg.startswith("<svg")
    assert of_one["versions"].numbers["run"] == of_one["versions"].numbers["this page"] == versions()
    last = read_metrics(run.path / "metrics.jsonl")[-1]
    assert of_one["cost"].numbers["run"]["seconds"] == last["seconds"]
    chosen = of_one["learning"].numbers["chosen"]["run"]
    assert chosen == {"checkpoint": "best", "step": chosen["step"], "last_step": last["step"]}
    valid = [v for v in of_one["learning"].numbers["curves"]["AUC"] if v["series"] == "validation"]
    assert max(valid, key=lambda v: v["value"])["step"] == chosen["step"]


def test_the_headline_is_what_evaluate_says_to_the_bit(of_one, run, drift_store):
    one = scored(run, drift_store, "test")
    numbers = of_one["headline"].numbers
    for name, value in one.metrics.items():
        assert (numbers["runs"]["run"][name][0] if name in numbers["runs"]["run"] else numbers[name]) == value
    assert numbers["users"] == len(np.unique(one.user_M))
    row = of_one["headline"].blocks[0].rows[0]
    assert [cell.value if isinstance(cell, Interval) else cell for cell in row[1:7]] == list(one.metrics.values())


def test_groups_are_those_that_have_rows(awkward, of_awkward):
    numbers = of_awkward["groups"].numbers
    store, item_M = awkward.store, awkward.candidate("item")
    counted = {
        "history": awkward.length_M,
        "activity": np.diff(store.offsets)[awkward.user_M],
        "unknown": np.where(item_M == 1, -1, 0),
    }
    for key, count_M in counted.items():
        groups = numbers[key]["run"]
        assert sum(row["rows"] for row in groups) == len(item_M)
        for row in groups:
            low, _, high = {"known": "0", "unknown": "-1"}.get(row["group"], row["group"]).partition("-")
            low, high = (-1, -1) if row["group"] == "unknown" else (int(low), int(high or low))
            mine = (low <= count_M) & (count_M <= high)
            label, logit, user = awkward.label_M[mine], awkward.logit_M[mine], awkward.user_M[mine]
            assert row["rows"] == len(label) and row["positives"] == label.sum()
            assert row["users"] == len(np.unique(user))
            assert _same(row["auc"].value, metrics.auc(logit, label)), row
            assert _same(row["gauc"].value, metrics.gauc(logit, label, user)), row
    assert [row["group"] for row in numbers["history"]["run"]][:2] == ["0", "1"]
    assert [row["group"] for row in numbers["unknown"]["run"]] == ["known", "unknown"]


def _same(value, wanted):
    return value is None if np.isnan(wanted) else value == pytest.approx(wanted, rel=1e-12)


def test_slices_are_the_worst_values(awkward, of_awkward):
    numbers = of_awkward["slices"].numbers
    assert list(numbers) == ["item", "kind", "city", "slot"]
    ids = awkward.store.vocabulary("slot").set_index("value")["id"]
    wanted = {}
    for value, i in ids.items():
        mine = awkward.candidate("slot") == i
        assert min(awkward.label_M[mine].sum(), (1 - awkward.label_M[mine]).sum()) >= 20
        wanted[str(value)] = roc_auc_score(awkward.label_M[mine], awkward.logit_M[mine])
    found = {row["value"]: row["runs"]["run"].value for row in numbers["slot"]["worst"]}
    assert found == pytest.approx(wanted) and list(found) == sorted(wanted, key=wanted.get)
    assert numbers["slot"]["values_with_enough_rows"] == 3
    assert any(row["value"].startswith("</b>") for row in numbers["city"]["worst"])
    assert all(row["runs"]["run"].low < row["runs"]["run"].value for row in numbers["city"]["worst"])
    assert numbers["item"] == {"values_with_enough_rows": 0, "worst": []}
    assert "item: no value has at least 20 rows of each class." in [
        block.text for block in of_awkward["slices"].blocks[:1]
    ]


def test_the_largest_errors(awkward, of_awkward):
    rows = of_awkward["mistakes"].numbers["run"]
    assert len(rows) == 20
    losses = [row["log loss"] for row in rows]
    assert losses == sorted(awkward.error_M, reverse=True)[:20]
    first = int(np.argmax(awkward.error_M))
    names = Names(awkward.store)
    assert rows[0]["candidate"] == {
        name: names.values(name, awkward.candidate(name)[[first]])[0] for name in ("item", "kind", "slot", "price")
    }
    for row in rows:
        assert -np.log(row["probability"] if row["label"] else 1 - row["probability"]) == pytest.approx(row["log loss"])
        assert len(row["last events"]) == min(3, row["events seen"])
    user = awkward.user_M[first]
    assert rows[0]["user"] == str(awkward.store.user_values()[user])
    assert awkward.length_M[first] == rows[0]["events seen"]


def test_several_runs_side_by_side(awkward, tmp_path):
    other = made_up(awkward.store, tmp_path / "other", seed=1)
    long = Config(CONFIG.model, DataConfig(max_len=3))
    short = made_up(awkward.store, tmp_path / "short", config=long, seed=2)
    found = checked(sections([awkward, other, short], Names(awkward.store), replicates=50))
    assert list(found) == BINARY
    runs, differences = found["headline"].numbers["runs"], found["headline"].numbers["differences_to_first"]
    assert list(runs) == ["run", "other", "short"] and list(differences) == ["other", "short"]
    for name, of_run in differences.items():
        assert list(of_run) == ["auc", "gauc", "logloss"]
        for measure, interval in of_run.items():
            assert interval.value == pytest.approx(runs[name][measure].value - runs["run"][measure].value)
            assert interval.low < interval.value < interval.high
    for name in ("groups", "calibration", "mistakes", "cost", "config"):
        text = json.dumps(found[name].numbers)
        assert "other" in text and "short" in text
    settings = found["config"].blocks[0]
    assert ["data.max_len", "50", "50", "3"] in settings.rows
    assert len([block for block in found["model"].blocks if isinstance(block, Picture)]) == 1
    assert max(int(row["group"].split("-")[0]) for row in found["groups"].numbers["history"]["short"]) <= 3


def test_a_regression(tmp_path):
    store = awkward_store(tmp_path / "store", regression=True)
    runs = [made_up(store, tmp_path / f"run{n}", config=REGRESSION, seed=n) for n in range(2)]
    found = checked(sections(runs, Names(store), replicates=50))
    assert list(found) == [name for name in BINARY if name not in ("baselines", "ranking")]
    numbers = found["headline"].numbers
    assert numbers["runs"]["run0"]["rmse"].value == runs[0].metrics["rmse"] and "positives" not in numbers
    worst = found["slices"].numbers["slot"]["worst"]
    assert [row["runs"]["run0"].value for row in worst] == sorted(
        (r["runs"]["run0"].value for r in worst), reverse=True
    )
    rows = found["mistakes"].numbers["run0"]
    assert rows[0]["absolute error"] == runs[0].error_M.max() == abs(rows[0]["prediction"] - rows[0]["target"])
    assert {row["group"] for row in found["groups"].numbers["unknown"]["run1"]} == {"known", "unknown"}


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_undefined(awkward, tmp_path, label):
    one = made_up(awkward.store, tmp_path / "run")
    one.label_M[:] = one.scores.label_NK[:] = label
    one.metrics.update(one.scores.metrics())
    found = checked(sections([one], Names(one.store), replicates=20))
    numbers = found["headline"].numbers["runs"]["run"]
    assert numbers["auc"] == numbers["gauc"] == Interval(None, None, None)
    assert (numbers["calibration"].value is None) == (label == 0)
    assert numbers["logloss"].low < numbers["logloss"].value < numbers["logloss"].high
    assert "one class only" in found["ranking"].blocks[0].text
    assert all(row["auc"].value is None for row in found["groups"].numbers["history"]["run"])
    assert found["slices"].numbers["slot"] == {"values_with_enough_rows": 0, "worst": []}


def test_one_user(tmp_path, log, roles):
    from dienjax import prepare

    one = log[log["user"] == log["user"].mode()[0]]
    store = prepare(one, tmp_path / "store", protocol="all", **roles)
    found = checked(sections([made_up(store, tmp_path / "run")], Names(store), replicates=20))
    auc = found["headline"].numbers["runs"]["run"]["auc"]
    assert auc.value in (0, 0.5, 1) and auc.low is None
    assert found["headline"].numbers["users"] == 1


def test_no_validation_no_auxiliary_loss_no_recurrence(drift_store, tmp_path):
    model = ModelConfig("DIN", 2, {"tower": (2,), "attention_hidden": (2,)})
    config = Config(model, DataConfig(valid="", batch_size=64, lengths=(4,)))
    run = fit_store(config, drift_store, tmp_path / "din", progress=False)
    found = checked(sections([scored(run, drift_store, "valid")], Names(drift_store, True), replicates=5))
    assert list(found["learning"].numbers["curves"]) == ["AUC", "log loss"]
    assert found["learning"].numbers["chosen"]["din"]["checkpoint"] == "last"
    taken = found["cost"].numbers["din"]
    assert taken["seconds"] > 0 and taken["rows_per_second"] > 0 and 1e7 < taken["peak_memory_bytes"] < 1e12
    assert all(row["user"].startswith("user ") for row in found["mistakes"].numbers["din"])


def test_a_run_that_recorded_nothing(of_awkward):
    found = of_awkward
    assert "no training was recorded" in found["learning"].blocks[1].text
    assert found["cost"].blocks[0].rows == [["run", *["not recorded"] * 3]]
    assert found["cost"].numbers["run"] == dict.fromkeys(("seconds", "rows_per_second", "peak_memory_bytes"))


def test_the_same_seed_gives_the_same_page(awkward, of_awkward):
    assert sections([awkward], Names(awkward.store), 0, replicates=50) == [*of_awkward.values()]
    other = sections([awkward], Names(awkward.store), 4, replicates=50)
    assert other[0].numbers["runs"] != of_awkward["headline"].numbers["runs"]


def test_anonymous_sections_hold_no_raw_values(awkward, of_awkward):
    found = sections([awkward], Names(awkward.store, anonymous=True), replicates=5)
    assert "</b>" in json.dumps([section.numbers for section in of_awkward.values()])
    assert "</b>" not in json.dumps([section.numbers for section in found])
    for row in next(s for s in found if s.name == "mistakes").numbers["run"]:
        assert row["candidate"]["price"] == "hidden" and row["user"].startswith("user ")
