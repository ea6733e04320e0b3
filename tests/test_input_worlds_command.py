"""The stores of the command have the input that matters, or not; it trains with and without, and keeps a table."""

import json

import pytest

from experiments.inputs import worlds


@pytest.mark.parametrize("name", worlds.CASES)
def test_a_store_has_the_input_if_it_is_given(name, tmp_path):
    case = worlds.CASES[name]
    log = type(case.world)(users=30).log()
    without = worlds.store_of(log, tmp_path / "without", case.always).schema
    given = worlds.store_of(log, tmp_path / "with", case.always | case.given).schema
    more = {"time": ["gap"], "tags": ["tags"], "channels": ["type"]}[name]
    assert given.field_names == [*without.field_names, *more]


def test_the_command_keeps_a_table(tmp_path):
    how = {"only": ("tags",), "seeds": 1, "epochs": 1, "users": 60, "results": tmp_path}
    worlds.main(tmp_path / "runs", **how)
    rows = json.loads((tmp_path / "input_worlds.json").read_text())
    worlds.main(tmp_path / "runs", **how)
    assert json.loads((tmp_path / "input_worlds.json").read_text()) == rows, "what is finished is only evaluated"
    assert [(row["world"], row["input"], len(row["seeds"])) for row in rows] == [("tags", True, 1), ("tags", False, 1)]
    assert 0.49 < rows[1]["optimum"] < 0.51 < 0.85 < rows[0]["optimum"] < 0.95
    assert "| tags | yes | 0." in (tmp_path / "input_worlds.md").read_text()
