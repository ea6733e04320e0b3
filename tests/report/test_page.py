"""What a page holds: the numbers, its own script alone, and no more than it may weigh."""

import json
import sys
from html.parser import HTMLParser

import pytest

import pages
from dienjax.report.page import render
from dienjax.report.section import Section

for module in ("jinja2", "vl_convert"):
    pytest.importorskip(module, reason=f"needs {module}: pip install '.[report]'")


class Scripts(HTMLParser):
    """The attributes and texts of all script elements."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        if tag == "script":
            self.found.append([dict(attributes), ""])

    def handle_data(self, data):
        if self.found and self.lasttag == "script":
            self.found[-1][1] += data


@pytest.fixture(scope="module")
def html():
    return render(pages.TITLE, pages.page())


def test_numbers_are_in_the_page_unrounded(html):
    [numbers] = [text for attributes, text in Scripts(html).found if attributes.get("id") == "numbers"]
    expected = {section.name: section.numbers for section in pages.page()}
    assert json.loads(numbers) == json.loads(json.dumps(expected))
    assert json.loads(numbers)["first"]["auc"] == [0.787123456789, 0.7, 0.9]


def test_only_its_own_scripts_are_in_the_page(html):
    kinds = [attributes.get("type", "runs") for attributes, _ in Scripts(html).found]
    assert kinds == ["application/json"] * 4 + ["runs"]


def test_a_page_without_data_is_small():
    assert len(render("", []).encode()) <= 3e6


def test_a_number_that_is_none_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        render("", [Section("a", "", "", [], {"auc": float("nan")})])


@pytest.mark.parametrize("module", ["jinja2", "vl_convert"])
def test_a_missing_package_is_named(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    said = rf"{module}, which is not installed: pip install 'dienjax\[report\]'"
    with pytest.raises(ModuleNotFoundError, match=said):
        render("", [])
