"""What a page is made of: sections of text, tables and charts, with the numbers behind them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Json = Any
"""Whatever `json.dumps(..., allow_nan=False)` takes; a number that is not defined is None."""


class Interval(NamedTuple):
    """A number and the ends of its 95 % interval; None where the data does not define it."""

    value: float | None
    low: float | None
    high: float | None


Cell = str | int | float | Interval | None
"""None is shown as "undefined"; a string as text, whatever it holds."""


@dataclass(frozen=True)
class Table:
    """Rows of cells under column titles.

    Attributes:
      caption: what the table says; read out before it.
      wide: whether it may need scrolling to the side, as a table of raw values does.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    wide: bool = False


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite specification with its data.

    Attributes:
      name: an identifier, unique in the page.
      spec: the specification as `alt.Chart.to_dict` gives it, without colours of ink and ground: the page has a light
        and a dark theme.
      description: what it shows, in a sentence for those who do not see it.
    """

    name: str
    title: str
    spec: dict[str, Any]
    description: str


@dataclass(frozen=True)
class Picture:
    """An SVG file's text."""

    name: str
    title: str
    svg: str


@dataclass(frozen=True)
class Text:
    """A paragraph, or with `code` text as it stands in a file."""

    text: str
    code: bool = False


Block = Table | Chart | Picture | Text


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading.

    Attributes:
      name: an identifier, unique in the page, which links lead to.
      text: a sentence or two on how to read it.
      numbers: what its blocks show, unrounded, for whoever reads the page by a program: the page holds it as JSON.
      folded: whether it is closed until a person opens it.
    """

    name: str
    title: str
    text: str
    blocks: Sequence[Block]
    numbers: Json = field(default_factory=dict)
    folded: bool = False
