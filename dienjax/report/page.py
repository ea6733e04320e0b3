"""Sections as one HTML file, which needs nothing else: neither a network nor a folder beside it."""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from dienjax.report.digits import written
from dienjax.report.needed import needed
from dienjax.report.section import Chart, Picture, Section, Table, Text

FOLDER = Path(__file__).parent


def render(title: str, sections: Sequence[Section]) -> str:
    """The HTML of a page. What it loads and runs is in it alone, and its text is shown as text, whatever it holds.

    The element "numbers" holds the numbers of all sections as JSON, by the names of these.

    Raises:
      ModuleNotFoundError: a package of the extra "report" is not installed.
      ValueError: NaN or infinity in the numbers or in a chart's data.
    """
    jinja2, _ = needed("jinja2", "vl_convert")
    page = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    page.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}  # in the order of the data
    page.filters |= {"written": written, "base64": _base64, "described": _described}
    page.tests |= {"table": _is(Table), "chart": _is(Chart), "picture": _is(Picture), "paragraph": _is(Text)}
    return page.get_template("page.html.j2").render(
        title=title,
        sections=sections,
        style=(FOLDER / "page.css").read_text(encoding="utf-8"),
        script=script(),
        digest=base64.b64encode(hashlib.sha256(script().encode()).digest()).decode(),
        numbers={section.name: section.numbers for section in sections},
    )


@cache
def script() -> str:
    """page.js with Vega, Vega-Lite and vega-embed, which it calls."""
    [vl_convert] = needed("vl_convert")
    return vl_convert.javascript_bundle((FOLDER / "page.js").read_text(encoding="utf-8"))


def _described(chart: Chart) -> dict[str, Any]:
    """A chart's specification with the description, which is read out."""
    return {**chart.spec, "description": chart.description}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _is(kind: type) -> Any:
    return lambda block: isinstance(block, kind)
