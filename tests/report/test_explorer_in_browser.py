"""The interest explorer in a real browser: the user, the candidate and the event that are chosen change every view."""

import numpy as np
import pytest
from explored import impressions_store, random_run

import browser
from dienjax.data.drift import DriftWorld
from dienjax.report.explorer import explorer
from dienjax.report.naming import Names
from dienjax.report.page import render
from dienjax.report.scored import scored
from dienjax.report.truth import Truth

for module in ("altair", "jinja2", "vl_convert"):
    pytest.importorskip(module, reason=f"needs {module}: pip install '.[report]'")

pytestmark = browser.needs_chromium
WORLD = DriftWorld(users=200, events_min=2, events_max=9, categories=6, items=60)
"""The world of the fixture drift_store."""
SHOWN = {"attention": "attention", "gate": "update gate", "left": "left at the end"}
LABELS = "return [...document.querySelectorAll('#explorer-chart [aria-label]')].map((e) => e.ariaLabel)"
TEXTS = "return [...document.querySelectorAll('#explorer-chart text')].map((e) => e.textContent)"


@pytest.fixture(scope="module")
def driver():
    with browser.chromium() as driver:
        yield driver


def page_of(section, folder):
    page = folder / "report.html"
    page.write_text(render("Explorer", [section]), encoding="utf-8")
    return page


@pytest.fixture(scope="module")
def both(drift_store, tmp_path_factory):
    """A DIN and a DIEN with the truth: the section, and its page."""
    folder = tmp_path_factory.mktemp("explorer")
    runs = [scored(random_run(drift_store, folder, name), drift_store, "test") for name in ("din", "AUGRU")]
    section = explorer(runs, Names(drift_store), truth=Truth(WORLD))
    return section, page_of(section, folder)


@pytest.fixture
def shown(driver, both):
    browser.console(driver)
    browser.show(driver, both[1])
    yield driver
    assert browser.console(driver) == []


def marks(driver):
    """What is said of each mark that has a description, by title."""
    split = [label.split("; ") for label in driver.execute_script(LABELS)]
    return [dict(part.split(": ", 1) for part in parts if ": " in part) for parts in split]


def drawn(driver, title):
    """The numbers with this title by run and event."""
    found = [mark for mark in marks(driver) if title in mark and "event" in mark]
    return {(mark.get("run", ""), int(mark["event"])): float(mark[title].replace("−", "-")) for mark in found}


def expected(user, part, k):
    """The same, as the page's numbers have them."""
    return {
        (run, t + 1): value for run, of_run in user["runs"].items() if of_run[part]
        for t, value in enumerate(of_run[part][k])
    }  # fmt: skip


def check(driver, user, k=0):
    """Every view shows this user and this candidate."""
    for part, title in SHOWN.items():
        numbers = expected(user, part, k)
        browser.until(driver, f"{LABELS}.some((l) => l.includes('{title}: '))")
        found = drawn(driver, title)
        assert found.keys() >= numbers.keys()
        np.testing.assert_allclose([found[key] for key in numbers], [*numbers.values()], atol=6e-5)
    texts = driver.execute_script(TEXTS)
    for event in user["events"]:
        assert event["time"] in texts and event["values"]["item"] in texts


def wait_for(driver, action):
    """Do what changes the chart, and wait until it has."""
    chart = "document.querySelector('#explorer-chart svg').innerHTML"
    before = driver.execute_script(f"return {chart}")
    action()
    browser.until(driver, f"return {chart} != arguments[0]", before)


def test_choosing_a_user_changes_every_view(shown, both):
    users = both[0].numbers["users"]
    check(shown, users[0])
    for u in (7, len(users) - 1):
        wait_for(shown, lambda u=u: browser.choose(shown, u))
        check(shown, users[u])


def test_the_picture_is_as_high_as_the_history_is_long(shown, both):
    lengths = [len(user["events"]) for user in both[0].numbers["users"]]
    heights = (
        "const svg = document.querySelector('#explorer-chart svg');"
        "return [svg, svg.querySelector('g')].map((e) => e.getBoundingClientRect().height)"
    )
    for u in (np.argmin(lengths), np.argmax(lengths), np.argmin(lengths)):
        browser.choose(shown, int(u))
        browser.until(
            shown, f"const [all, drawn] = (() => {{ {heights} }})(); return 0 <= all - drawn && all - drawn < 30"
        )
    assert max(lengths) > min(lengths) + 3


def test_a_candidate_is_picked_from_the_list_or_by_a_click(shown, both):
    user = both[0].numbers["users"][0]
    assert expected(user, "attention", 0) != expected(user, "attention", 1)
    pick = shown.find_element("css selector", "select[name=pick_k]")
    wait_for(shown, lambda: pick.send_keys("\ue015"))  # the arrow down, as WebDriver writes it
    check(shown, user, 1)
    assert pick.get_attribute("value") == "2"
    rows = shown.find_elements("css selector", "#explorer-chart .mark-rect path[aria-label*='candidate: 1;']")
    wait_for(shown, rows[0].click)
    check(shown, user, 0)
    assert pick.get_attribute("value") == "1"


def test_an_event_under_the_pointer_is_marked_in_every_view(shown):
    bands = shown.find_elements("css selector", "#explorer-chart .mark-rect path[aria-label^='t: 2; event: 2;']")
    assert len(bands) >= 5
    browser.hover(shown, bands[0])
    lit = "[...document.querySelectorAll('#explorer-chart path[opacity=\"0.15\"]')]"
    browser.until(shown, f"return {lit}.length >= 5")
    assert all("event: 2;" in label for label in shown.execute_script(f"return {lit}.map((e) => e.ariaLabel)"))


def test_one_run_can_be_looked_at_alone(shown):
    assert {run for run, _ in drawn(shown, "attention")} == {"din", "AUGRU"}
    run = shown.find_element("css selector", "select[name=run]")
    wait_for(shown, lambda: run.send_keys("A"))
    assert {run for run, _ in drawn(shown, "attention")} == {"AUGRU"}


def test_users_without_history_are_drawn_without_a_complaint(driver, tmp_path):
    store = impressions_store(tmp_path)
    runs = [scored(random_run(store, tmp_path, name), store, "test") for name in ("AUGRU", "din")]
    users = ["u11", "u0", "u1"]
    page = page_of(explorer(runs, Names(store), users), tmp_path)
    browser.console(driver)
    browser.show(driver, page)
    for u in (1, 2, 0):
        wait_for(driver, lambda u=u: browser.choose(driver, u))
    assert browser.console(driver) == []
