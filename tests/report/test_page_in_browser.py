"""A page as a person meets it in a real browser: read, by keyboard, on a phone, in the dark, printed."""

import pytest

import browser
import pages
from dienjax.report.page import render

for module in ("jinja2", "vl_convert"):
    pytest.importorskip(module, reason=f"needs {module}: pip install '.[report]'")

pytestmark = browser.needs_chromium
POINTS = "#linked-chart .mark-symbol.role-mark path"
LIGHT, DARK = ["rgb(253, 253, 252)", "rgb(28, 35, 40)"], ["rgb(20, 24, 27)", "rgb(228, 232, 234)"]
THEMES = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(pages.TITLE, pages.page()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def driver():
    with browser.chromium() as driver:
        yield driver


@pytest.fixture
def shown(driver, file):
    browser.show(driver, file)
    return driver


def texts(driver, selector):
    found = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
    return driver.execute_script(found, selector)


def chart_width(driver, name):
    """Pixels, once it has a hundred."""
    width = (
        "const { width } = document.querySelector(arguments[0]).getBoundingClientRect(); return width > 100 && width"
    )
    return browser.until(driver, width, f"#{name}-chart svg")


def colours(driver):
    """Of the ground, and of a chart's title."""
    parts = {"body": "backgroundColor", "#linked-chart .role-axis-title text": "fill"}
    colour = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    return [driver.execute_script(colour, *part) for part in parts.items()]


def test_every_chart_is_drawn(shown):
    states = "return [...document.querySelectorAll('figure.chart')].map((figure) => figure.dataset.state)"
    assert shown.execute_script(states) == ["drawn"] * 3
    for chart in ("early", "late"):
        assert len(texts(shown, f"#{chart}-chart .mark-rect.role-mark path")) == len(pages.HOSTILE)
    assert len(texts(shown, POINTS)) == 2 * 5


def test_it_asks_for_nothing_and_complains_of_nothing(driver, file):
    browser.console(driver), browser.requests(driver)
    browser.show(driver, file)
    assert browser.requests(driver) == [file.as_uri()]
    assert browser.console(driver) == []


def test_whatever_a_value_is_it_is_shown_as_text(shown):
    assert texts(shown, "#first tbody th") == pages.HOSTILE
    assert texts(shown, "option") == pages.HOSTILE[:3]
    assert texts(shown, "pre") == [pages.HOSTILE[0]] and texts(shown, "caption")[0] == pages.HOSTILE[3]
    labels = texts(shown, "#early-chart .role-axis-label text")[-len(pages.HOSTILE) :]
    for label, value in zip(labels, pages.HOSTILE, strict=True):
        assert value.startswith(label.rstrip("…").rstrip())
    assert shown.execute_script("return [window.ran, document.title]") == [None, pages.TITLE]
    isolated = "return [...document.querySelectorAll('bdi')].map((e) => getComputedStyle(e).unicodeBidi)"
    assert set(shown.execute_script(isolated)) == {"isolate"}


def test_a_tooltip_holds_text(shown):
    bars = shown.find_elements("css selector", "#early-chart .mark-rect.role-mark path")
    for bar, value in zip(bars, pages.HOSTILE, strict=True):
        browser.hover(shown, bar)
        at_place = "return document.querySelectorAll('.vg-tooltip.visible td')[1]?.textContent == arguments[0]"
        browser.until(shown, at_place, value)
        assert texts(shown, ".vg-tooltip td") == ["name", value, "image", value]
    assert not shown.find_elements("css selector", ".vg-tooltip :not(table, tbody, tr, td)")
    assert shown.execute_script("return [window.ran, document.title]") == [None, pages.TITLE]


def test_what_gets_in_all_the_same_does_not_run(shown):
    """The second lock, behind that of the escapes."""
    shown.execute_script("document.body.insertAdjacentHTML('beforeend', arguments[0])", pages.HOSTILE[1])
    shown.execute_script("document.body.append(Object.assign(document.createElement('script'), {text: 'ran = 1'}))")
    shown.execute_async_script("fetch('https://example.org').catch(arguments[arguments.length - 1])")
    refused = {
        directive
        for line in browser.console(shown)
        for directive in ("script-src", "img-src", "default-src")
        if "Content Security Policy" in line and directive in line
    }
    assert refused == {"script-src", "img-src", "default-src"}
    assert shown.execute_script("return window.ran") is None


def test_a_list_changes_the_linked_views(shown):
    for user in (2, 1):
        browser.choose(shown, user)
        browser.until(shown, f"return document.querySelectorAll('{POINTS}').length == {2 * (5 + user)}")


def test_the_keyboard_reaches_all_that_can_be_used(shown):
    reached = []
    while "SUMMARY" not in reached and len(reached) < 12:
        browser.press(shown, browser.TAB)
        focused = "const e = document.activeElement; return [e.tagName, getComputedStyle(e).outlineStyle]"
        tag, outline = shown.execute_script(focused)
        assert outline != "none", tag
        reached.append(tag)
    assert reached == ["A"] * 4 + ["SELECT", "DIV", "SUMMARY"]  # the links, the list, the wide chart, the fold
    browser.press(shown, " ")
    assert shown.execute_script("return document.querySelector('details').open")


@pytest.mark.parametrize("style", ["", "details:not([open]) > :not(summary) { display: none }"])
def test_a_folded_section_opens_by_its_link_with_its_chart_as_wide_as_any(driver, file, tmp_path, style):
    """Also in a browser that lays nothing out in what is folded."""
    other = tmp_path / "a.html"
    other.write_text(file.read_text(encoding="utf-8").replace("</style>", f"{style}</style>"), encoding="utf-8")
    browser.console(driver)
    browser.show(driver, other)
    driver.find_element("css selector", "nav a[href='#folded']").click()
    browser.until(driver, "return document.querySelector('details').open")
    assert chart_width(driver, "late") == chart_width(driver, "early") > 600
    assert browser.console(driver) == []


@THEMES
def test_on_a_phone_nothing_but_frames_scrolls_sideways(driver, file, dark):
    browser.show(driver, file, 390, dark)
    driver.execute_script("document.querySelector('details').open = true")
    for chart in ("early", "late"):
        assert 300 < chart_width(driver, chart) <= 350
    assert driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]") == [390, 390]
    wide = "[...document.querySelectorAll('.frame')].map((e) => [e.scrollWidth > e.clientWidth, e.tabIndex == 0])"
    frames = browser.until(driver, f"const all = {wide}; return all.every(([wide, tab]) => wide == tab) && all")
    assert [True, True] in frames


def test_a_theme_changes_in_drawn_charts(shown):
    browser.choose(shown, 1)
    assert colours(shown) == LIGHT
    browser.emulate(shown, "", True)
    assert colours(shown) == DARK
    assert len(texts(shown, POINTS)) == 2 * 6  # what was chosen stays so


def test_a_print_is_light_and_whole(driver, file):
    browser.show(driver, file, dark=True)
    closed = "document.querySelectorAll('details:not([open])').length"
    driver.execute_script(f"addEventListener('beforeprint', () => {{ window.closed_in_print = {closed} }})")
    driver.print_page()
    assert driver.execute_script(f"return [window.closed_in_print, {closed}]") == [0, 1]
    browser.emulate(driver, "print", True)
    assert colours(driver) == ["rgb(255, 255, 255)", LIGHT[1]]
    hidden = "return [getComputedStyle(document.querySelector('.frame')).overflowX, getComputedStyle(nav).display]"
    assert driver.execute_script(f"const nav = document.querySelector('nav'); {hidden}") == ["visible", "none"]


@browser.needs_axe
@THEMES
def test_axe_finds_nothing_serious(driver, file, dark):
    browser.show(driver, file, dark=dark)
    driver.execute_script("document.querySelector('details').open = true")
    assert browser.accessibility(driver) == []
