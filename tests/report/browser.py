"""A headless Chromium for the tests that look at a page as a person does."""

import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
AXE = os.environ.get("AXE_CORE", "")
"""axe.min.js of the npm package axe-core."""

TAB = "\ue004"
"""As WebDriver writes it."""

needs_chromium = pytest.mark.skipif(
    not (CHROMIUM.exists() and DRIVER.exists()), reason="needs Chromium: apt-get install chromium chromium-driver"
)
needs_axe = pytest.mark.skipif(
    not Path(AXE).is_file(), reason="needs axe-core: npm install axe-core, and AXE_CORE=.../axe-core/axe.min.js"
)


@contextmanager
def chromium() -> Iterator[Any]:
    """Selenium's driver of a new browser, which logs its console and its requests."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install '.[dev]'")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


def show(driver: Any, page: Path, width: int = 1280, dark: bool = False, height: int = 900) -> None:
    """Open a page, and wait until its charts are drawn, or have failed."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    emulate(driver, "", dark)
    driver.get(page.as_uri())
    until(driver, "return !document.querySelector('figure.chart:not([data-state])')")


def emulate(driver: Any, media: str, dark: bool) -> None:
    """Show the page as on paper ("print") or as it is (""), in the theme that a person prefers."""
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": [scheme]})


def until(driver: Any, script: str, *arguments: Any) -> Any:
    """What a script returns, once that is true."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, 60, 0.05).until(lambda d: d.execute_script(script, *arguments))


def press(driver: Any, key: str) -> None:
    """Press a key where the focus is."""
    from selenium.webdriver import ActionChains

    ActionChains(driver).send_keys(key).perform()


def hover(driver: Any, element: Any) -> None:
    """Move the pointer over an element."""
    from selenium.webdriver import ActionChains

    ActionChains(driver).move_to_element(element).perform()


def choose(driver: Any, index: int) -> None:
    """Choose from the first list."""
    from selenium.webdriver.support.ui import Select

    Select(driver.find_element("css selector", "select")).select_by_index(index)


def console(driver: Any) -> list[str]:
    """What the page has said since the last call: errors, and warnings."""
    return [f"{entry['level']}: {entry['message']}" for entry in driver.get_log("browser")]


def requests(driver: Any) -> list[str]:
    """The addresses that the page has asked for since the last call, but those that hold what they stand for."""
    sent = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [each["params"]["request"]["url"] for each in sent if each["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if not url.startswith("data:")]


def picture(driver: Any, path: Path, whole: bool = True) -> None:
    """A PNG of the whole page, or of what the window shows."""
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": whole})
    path.write_bytes(base64.b64decode(shot["data"]))


def accessibility(driver: Any) -> list[str]:
    """What axe-core finds serious or critical, with an example of each."""
    driver.execute_script(Path(AXE).read_text(encoding="utf-8"))
    found = driver.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    return [
        f"{rule['id']}: {rule['help']}: {[node['html'][:200] for node in rule['nodes']][:3]}"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
    ]
