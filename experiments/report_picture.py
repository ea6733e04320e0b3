"""The README's picture of a report: the interest explorer of a page for one user, as Chromium shows it.

dienjax demo && python -m experiments.report_picture runs/demo/report.html --user 686
"""

import shutil
from pathlib import Path

import tyro
from selenium import webdriver
from selenium.webdriver.support.ui import Select, WebDriverWait

from experiments.benchmark.measure import ROOT


def main(page: tyro.conf.Positional[Path], user: str, output: Path = ROOT / "experiments/pictures/report.png") -> None:
    """Draw the interest explorer of a report.

    Args:
      page: what `dienjax report` or `dienjax demo` wrote.
      user: one of those that it shows.
      output: the picture.
    """
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--window-size=1280,1600", "--hide-scrollbars"):
        options.add_argument(argument)
    with webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver"))) as driver:
        driver.get(page.resolve().as_uri())
        drawn = "return !document.querySelector('figure.chart:not([data-state=drawn])')"
        WebDriverWait(driver, 60).until(lambda driver: driver.execute_script(drawn))
        users = Select(driver.find_element("css selector", "#explorer select[name=user_u]"))
        users.select_by_visible_text(next(o.text for o in users.options if o.text.startswith(f"{user} ")))
        driver.execute_script("document.activeElement.blur(); return new Promise((drawn) => setTimeout(drawn, 1000))")
        output.write_bytes(driver.find_element("css selector", "#explorer figure.chart").screenshot_as_png)


if __name__ == "__main__":
    tyro.cli(main, prog="python -m experiments.report_picture")
