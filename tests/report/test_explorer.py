"""The section of the explorer: its numbers, its text, and the chart's data, which are the numbers in short."""

import json

import numpy as np
import pytest
from explored import random_run

from dienjax.data.drift import DriftWorld
from dienjax.report.cases import cases
from dienjax.report.evolution import evolve, frequent_behaviours
from dienjax.report.explorer import explorer
from dienjax.report.explorer_chart import explorer_chart
from dienjax.report.naming import Names
from dienjax.report.scored import scored
from dienjax.report.truth import Truth, following, interests_of

WORLD = DriftWorld(users=200, events_min=2, events_max=9, categories=6, items=60)
"""The world of the fixture drift_store."""

pytest.importorskip("altair", reason="the chart needs Altair: pip install 'dienjax[report]'")


@pytest.fixture(scope="module")
def both(drift_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explorer")
    return [scored(random_run(drift_store, folder, name), drift_store, "test") for name in ("din", "AUGRU")]


@pytest.fixture(scope="module")
def section(both):
    return explorer(both, Names(both[0].store, False), seed=3, truth=Truth(WORLD))


def near(found, expected):
    np.testing.assert_allclose(np.array(found, float), expected, rtol=1e-6, equal_nan=True)


def test_the_numbers_are_the_arrays_without_padding(both, section):
    assert json.loads(json.dumps(section.numbers, allow_nan=False)) == section.numbers
    store, chosen = both[0].store, cases(both, seed=3)
    interests = interests_of(Truth(WORLD), store, chosen)
    values = store.vocabulary("item").set_index("id")["value"].astype(str)
    for one, name in zip(both, ("din", "AUGRU"), strict=True):
        run = evolve(one, chosen, frequent_behaviours(store))
        for u, user in enumerate(section.numbers["users"]):
            found, length = user["runs"][name], chosen.length_U[u]
            near(found["probability"], run.probability_UKP[u, :, : length + 1])
            near(found["attention"], run.weight_UKT[u, :, :length])
            if name == "din":
                assert [found[part] for part in ("gate", "left", "surprise", "expected")] == [None] * 4
                continue
            near(found["gate"], run.gate_UKT[u, :, :length])
            near(found["left"], run.left_UKT[u, :, :length])
            near(found["surprise"], run.surprise_UT[u, :length])
            if length:
                near([each["logit"] for each in found["expected"]], run.logit_U5[u])
                named = [each["values"]["item"] for each in found["expected"]]
                assert named == values[run.nearest["item"][u]].tolist()
            else:
                assert found["expected"] == []
            near(user["interest"]["probability"], interests.interest_UPC[u, : length + 1])
        near(section.numbers["following"][name], following(run.probability_UKP, interests.candidate_UKP))
    for u, user in enumerate(section.numbers["users"]):
        assert user["user"] == str(store.user_values()[chosen.user_U[u]]) and user["chosen"] == chosen.why[u]
        rows = chosen.event_UT[u, : chosen.length_U[u]]
        assert [event["values"]["item"] for event in user["events"]] == [
            values.get(id, "unknown") for id in store.events["item"][rows]
        ]
        assert [candidate["label"] for candidate in user["candidates"]] == [1, 0]


def columns_of(section):
    return [row[0] for row in section.blocks[1].rows]


def test_what_is_drawn_is_explained(both, section):
    few, all_of_it = (
        ["attention", "probability so far"],
        ["update gate", "left at the end", "surprise", "expected next"],
    )
    assert {*columns_of(section)} == {*few, *all_of_it, "true interest"}
    din = explorer(both[:1], Names(both[0].store, False))
    assert columns_of(din) == few and "following" not in din.numbers and len(din.blocks) == 2
    drawn = [json.dumps(one.blocks[0].spec) for one in (section, din)]
    for column in [*few, *all_of_it, "true interest"]:
        assert (column in drawn[0].lower()) and (column in drawn[1].lower()) == (column in few)
    (table,) = section.blocks[2:]
    assert table.rows == [
        ["din", section.numbers["following"]["din"]],
        ["AUGRU", section.numbers["following"]["AUGRU"]],
    ]


def test_several_behaviours_context_and_an_empty_history(shown):
    section = explorer([shown], Names(shown.store, False), ["u0", "u1", "u11"])
    none, one, many = section.numbers["users"]
    assert none["events"] == [] and none["runs"]["AUGRU"]["expected"] == []
    assert [len(p) for p in none["runs"]["AUGRU"]["probability"]] == [1] * len(none["candidates"])
    assert len(one["events"]) == 1 and one["runs"]["AUGRU"]["surprise"] == [None]
    assert len(many["events"]) == 8 and many["earlier_events"] == 3
    assert [*many["events"][0]["values"]] == ["item", "maker", "kind"]
    assert [*many["candidates"][0]["values"]] == ["item", "maker", "kind", "place", "price"]
    assert many["events"][0]["values"]["kind"].startswith("kind ")


def test_an_anonymous_page_holds_no_raw_value(shown):
    section = explorer([shown], Names(shown.store, True), ["u11"])
    text = json.dumps([section.numbers, section.blocks[0].spec])
    assert '"u11' not in text and '"kind 0"' not in text and "item 2" in text


def test_runs_with_folders_of_the_same_name_are_told_apart(drift_store, tmp_path):
    both = [scored(random_run(drift_store, tmp_path / name, "din"), drift_store, "test") for name in "ab"]
    section = explorer(both, Names(drift_store, False))
    assert [*section.numbers["users"][0]["runs"]] == ["a/din", "b/din"]


def test_the_charts_data_are_the_numbers_in_short(section):
    spec = section.blocks[0].spec
    data, users = spec["datasets"], section.numbers["users"]
    assert {*data} >= {"users", "candidates", "pairs", "states"}
    assert len(data["users"]) == len(users) and len(data["pairs"]) == 2 * len(data["candidates"])
    for row in data["pairs"]:
        run = users[row["u"]]["runs"][row["r"]]
        short = {"p": "probability", "a": "attention", "g": "gate", "l": "left"}
        for field, name in short.items():
            whole = run[name] and run[name][row["k"] - 1]
            expected = [] if whole is None else whole if field == "p" else [0, *whole]
            np.testing.assert_allclose(np.array(row[field], float), np.array(expected, float), atol=5e-5)
    for row in data["states"]:
        surprise = users[row["u"]]["runs"][row["r"]]["surprise"]
        assert len(row["s"]) == (0 if surprise is None else len(surprise) + 1)
    for row in data["users"]:
        assert row["n"] == len(row["d"]) == len(row["v0"]) == len(row["b"]) == len(row["e"])


def test_the_data_stay_small():
    """The most there can be of one run: 50 users with 10 candidates and 50 events; with a truth besides."""
    number = 0.123456789
    event = {"time": "2026-11-28 12:00", "values": {"item": "B00012345X", "category": "Sports & Outdoors"}}
    run = {part: [[number] * 50] * 10 for part in ("attention", "gate", "left")}
    run |= {"probability": [[number] * 51] * 10, "surprise": [number] * 50}
    run |= {"expected": [{"values": event["values"], "logit": number}] * 5}
    user = {
        "user": "A1B2C3D4E5F6G7", "chosen": "random", "earlier_events": 0, "events": [event] * 50,
        "candidates": [{"values": event["values"], "label": 1.0}] * 10, "runs": {"a run": run},
    }  # fmt: skip
    assert len(json.dumps(explorer_chart([user] * 50, ["item", "category"]))) < 1.5e6
    interest = {"probability": [[number] * 24] * 51, "of_candidates": [[number] * 51] * 10}
    interest |= {"event_category": [23] * 50, "candidate_category": [23] * 10}
    assert len(json.dumps(explorer_chart([user | {"interest": interest}] * 50, ["item", "category"]))) < 3e6


def values_of(spec, key):
    if isinstance(spec, dict):
        found = [spec[key]] if key in spec else []
        return found + [v for name, child in spec.items() if name != "datasets" for v in values_of(child, key)]
    return [v for child in spec for v in values_of(child, key)] if isinstance(spec, list) else []


def test_the_page_gives_the_colours(section):
    spec = section.blocks[0].spec
    assert "config" not in spec or not {"background", "range", "axis"} & {*spec["config"]}
    for key in ("fill", "stroke", "background", "scheme", "range"):
        assert all(value in (None, [0, 1]) for value in values_of(spec, key))


def svg(spec, **parameters):
    converter = pytest.importorskip("vl_convert", reason="pip install 'dienjax[report]'")
    spec = json.loads(json.dumps(spec))
    for parameter in spec["params"]:
        if parameter["name"] in parameters:
            parameter["value"] = parameters[parameter["name"]]
    return converter.vegalite_to_svg(spec)


def test_choosing_a_user_changes_every_view(section):
    """Drawn without a browser: the parameter's value stands in the specification."""
    spec = section.blocks[0].spec
    first, other = svg(spec), svg(spec, user=7)
    assert first != other
    for picture, user in ((first, 0), (other, 7)):
        for event in section.numbers["users"][user]["events"]:
            assert f">{event['time']}<" in picture


def test_picking_a_candidate_changes_what_is_drawn(section):
    spec = section.blocks[0].spec
    assert svg(spec) != svg(spec, pick=[{"k": 2}])
    assert svg(spec, pick=[{"k": 2}]) == svg(spec, pick=[{"k": 9}]), "a user who has fewer shows the last"


def test_choosing_a_run_leaves_the_others_out(section):
    assert len({svg(section.blocks[0].spec, run=run) for run in ("", "din", "AUGRU")}) == 3


def test_raw_values_are_drawn_as_text():
    hostile = ["</script><script>alert(1)</script>", "🦊", "مرحبا", "x" * 200, "datum['v0']"]
    events = [{"time": "now", "values": {"item": value}} for value in hostile]
    run = {
        "probability": [[0.5] * 6],
        "attention": [[0.2] * 5],
        "gate": None,
        "left": None,
        "surprise": None,
        "expected": None,
    }
    user = {
        "user": hostile[0], "chosen": "named", "earlier_events": 0, "events": events, "runs": {"din": run},
        "candidates": [{"values": {"item": hostile[0]}, "label": 1.0}],
    }  # fmt: skip
    picture = svg(explorer_chart([user], ["item"]))
    assert "<script" not in picture and "&lt;/script&gt;" in picture
    for value in hostile[1:3]:
        assert value in picture
