"""What the data card of a page says, also where nobody is to know whose data it is."""

import json

import pandas as pd
import pytest

from dienjax import prepare
from dienjax.report.about import about_store
from dienjax.report.naming import Names


@pytest.fixture
def store(tmp_path):
    rows = [(u, i, pd.Timestamp("2026-03-01") + pd.Timedelta(hours=36 * i)) for u in range(20) for i in range(5)]
    log = pd.DataFrame(rows, columns=["user", "item", "time"])
    return prepare(log, tmp_path / "mine", user="user", item="item", time="time", test_fraction=0.3)


def test_the_data_card_is_that_of_inspect(store):
    section = about_store(store, Names(store))
    assert "2026-03-01 to 2026-03-07" in section.blocks[0].text
    assert section.numbers["path"] == str(store.path) and section.text == ""


def test_an_anonymous_one_says_neither_when_nor_where(store, tmp_path):
    section = about_store(store, Names(store, anonymous=True))
    assert "events from 0.0 to 6.0" in section.blocks[0].text and "days from the first event" in section.text
    assert (section.numbers["first"], section.numbers["last"], section.numbers["path"]) == (0, 6, "mine")
    assert section.numbers["splits"]["test"]["last"] == 6
    whole = json.dumps(section.numbers) + section.blocks[0].text
    assert "2026" not in whole and str(tmp_path) not in whole
