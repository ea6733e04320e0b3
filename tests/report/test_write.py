"""A report from run folders to the page in a browser."""

import json
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from explored import impressions_store, random_run

import browser
import pages
from dienjax import evaluate, prepare, write_report
from dienjax.cli import main

for module in ("altair", "jinja2", "vl_convert"):
    pytest.importorskip(module, reason=f"needs {module}: pip install '.[report]'")


class Numbers(HTMLParser):
    """What the element "numbers" of a page holds."""

    def __init__(self, path):
        super().__init__()
        self.inside, self.text = False, ""
        self.feed(path.read_text(encoding="utf-8"))
        self.found = json.loads(self.text)

    def handle_starttag(self, tag, attributes):
        self.inside = ("id", "numbers") in attributes

    def handle_data(self, data):
        self.text += data if self.inside else ""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A store all of whose raw values try to be more than text, and a run on it."""
    folder, rng = tmp_path_factory.mktemp("hostile"), np.random.default_rng(0)
    user = np.repeat(np.arange(40), rng.integers(1, 9, 40))
    item = rng.integers(0, 20, len(user))
    log = pd.DataFrame({"user": user, "item": item, "kind": item % len(pages.HOSTILE), "time": np.arange(len(user))})
    for column in ("user", "item", "kind"):
        log[column] = [f"{pages.HOSTILE[i % len(pages.HOSTILE)]} {i}" for i in log[column]]
    roles = {"user": "user", "item": "item", "time": "time", "attributes": ["kind"]}
    store = prepare(log, folder / "store", **roles, test_fraction=0.5)
    return random_run(store, folder, "AUGRU", max_len=8)


@pytest.fixture(scope="module")
def page(hostile, tmp_path_factory):
    return write_report([hostile.path], tmp_path_factory.mktemp("page") / "a.html", progress=False)


def test_numbers_are_those_of_evaluate_for_each_run(drift_store, tmp_path):
    runs = [random_run(drift_store, tmp_path, name) for name in ("AUGRU", "din")]
    file = write_report([run.path for run in runs], tmp_path / "a.html", "valid", drift_store.path, progress=False)
    assert file == tmp_path / "a.html" and "<title>AUGRU, din on valid of store</title>" in file.read_text()
    found = Numbers(file).found["headline"]["runs"]
    assert list(found) == ["AUGRU", "din"]
    for name, run in zip(found, runs, strict=True):
        expected = evaluate(run, drift_store, "valid")
        assert {"auc", "gauc", "logloss", "calibration"} <= found[name].keys()
        assert {m: value for m, (value, low, high) in found[name].items()} == {m: expected[m] for m in found[name]}


def test_users_are_chosen_and_anonymous(tmp_path):
    store = impressions_store(tmp_path)
    run = random_run(store, tmp_path)
    plain, hidden = (
        write_report([run.path], tmp_path / name, users=["u11"], anonymous=anonymous, progress=False)
        for name, anonymous in (("a.html", False), ("b.html", True))
    )
    users = [user["user"] for file in (plain, hidden) for user in Numbers(file).found["explorer"]["users"]]
    assert users == ["u11", "user 3"]  # its row
    for raw in ("kind 0", "kind 1"):
        found = [raw in file.read_text().rpartition("<script>")[0] for file in (plain, hidden)]
        assert found == [True, False]


def test_the_command_writes_into_the_run_folder_the_page_that_anyone_gets(hostile, page, capsys):
    main(["report", str(hostile.path)])
    said, file = capsys.readouterr(), hostile.path / "report.html"
    assert said.out == f"{file}: {file.stat().st_size / 1e6:.1f} MB; open it in a browser\n"
    stages = [f"{hostile.path}:", "following", "measuring,", "writing"]
    assert [line.split()[0] for line in said.err.splitlines()] == stages
    assert file.read_bytes() == page.read_bytes()


def test_the_command_passes_on_what_it_is_told(page, capsys, monkeypatch):
    told = []

    def write(*arguments, **others):
        told.append((*arguments, others))
        return page

    monkeypatch.setattr("dienjax.report.write.write_report", write)
    main(["report", "a", "b"])
    options = "--split valid --store s --users u v --anonymous --seed 3 --output c.html --quiet"
    main(["report", "a", *options.split()])
    a, b, s = map(Path, "abs")
    assert told == [
        ((a, b), Path("report.html"), "test", None, None, False, 0, {"progress": True}),
        ((a,), Path("c.html"), "valid", s, ("u", "v"), True, 3, {"progress": False}),
    ]


def test_mistakes_are_said_before_anything_is_scored(hostile, tmp_path, monkeypatch):
    def scored(*_):
        raise AssertionError("scored")

    monkeypatch.setattr("dienjax.report.write.scored", scored)
    for output in (tmp_path / "none" / "a.html", tmp_path):
        with pytest.raises(FileNotFoundError, match="expected the name of a file in a folder that is there"):
            write_report([hostile.path], output)
    with pytest.raises(FileNotFoundError, match="not a run folder"):
        write_report([tmp_path], tmp_path / "a.html")
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(ModuleNotFoundError, match=r"altair, which is not installed: pip install 'dienjax\[report\]'"):
        write_report([hostile.path], tmp_path / "a.html")


@browser.needs_chromium
def test_hostile_raw_values_run_nothing(page):
    with browser.chromium() as driver:
        browser.show(driver, page)
        charts = "[...document.querySelectorAll('figure.chart')]"
        marks = "figure.dataset.state == 'drawn' && figure.querySelectorAll('.role-mark path').length"
        assert all(driver.execute_script(f"return {charts}.map((figure) => {marks})"))
        labels = "return [...document.querySelectorAll('option')].some((e) => e.textContent.includes('<script>'))"
        assert driver.execute_script(labels)
        assert driver.execute_script("return [window.ran, document.title]") == [None, "AUGRU on test of store"]
        assert browser.requests(driver) == [page.as_uri()]
        assert browser.console(driver) == []
        browser.show(driver, page, 390)
        driver.execute_script("document.querySelectorAll('details').forEach((e) => { e.open = true })")
        assert driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]") == [390, 390]


@browser.needs_chromium
@browser.needs_axe
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious(page, dark):
    with browser.chromium() as driver:
        browser.show(driver, page, dark=dark)
        driver.execute_script("document.querySelectorAll('details').forEach((e) => { e.open = true })")
        assert browser.accessibility(driver) == []
