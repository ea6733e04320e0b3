"""An SVG picture of boxes, chips and arrows, whose text is cut or wrapped to fit."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree as ET

CHARACTER = 0.6
"""The width of a character relative to the font size, by which text is fitted."""

CHIP_SIZE, CHIP_STEP, MOST_ROWS = 11.5, 28, 8
"""Font size of a chip, height of a row of chips, and the rows after which chips are only counted."""

INK, SOFT, LINE = "#1f2933", "#5b6875", "#7a8794"
SANS, MONO = "Helvetica, Arial, 'Liberation Sans', sans-serif", "Menlo, Consolas, 'Liberation Mono', monospace"

Point = tuple[float, float]
Colours = tuple[str, str]
"""Fill and stroke."""


class Box(NamedTuple):
    x: float
    y: float
    width: float
    height: float

    @property
    def centre(self) -> float:
        return self.x + self.width / 2

    @property
    def middle(self) -> float:
        return self.y + self.height / 2

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height


class Picture:
    """The elements drawn so far; `svg` makes them a document."""

    def __init__(self) -> None:
        self.root = ET.Element("g")

    def svg(self, width: float, height: float, title: str, description: str) -> str:
        size = {"width": f"{width:g}", "height": f"{height:g}", "viewBox": f"0 0 {width:g} {height:g}"}
        document = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", **size})
        ET.SubElement(document, "title").text = title
        ET.SubElement(document, "desc").text = description
        head = {"id": "head", "viewBox": "0 0 8 8", "refX": "7", "refY": "4", "markerWidth": "8", "markerHeight": "8"}
        defs = ET.SubElement(document, "defs")
        marker = ET.SubElement(defs, "marker", {**head, "orient": "auto", "markerUnits": "userSpaceOnUse"})
        ET.SubElement(marker, "path", d="M0,0.5 L8,4 L0,7.5 z", fill=LINE)
        ET.SubElement(document, "rect", width="100%", height="100%", fill="#fcfdfe")
        document.append(self.root)
        ET.indent(document)
        return ET.tostring(document, encoding="unicode") + "\n"

    def box(self, at: Point, width: float, colours: Colours, title: str, lines: Sequence[str]) -> Box:
        """Draw and return a box of a title and wrapped lines, whose height follows from these."""
        wrapped = [part for line in lines for part in textwrap.wrap(line, _fitting(width - 28, 12))]
        box = Box(*at, width, 40 + 17 * len(wrapped))
        group = self._frame(box, colours)
        self.text((box.x + 14, box.y + 24), title, 14, weight="600", parent=group)
        for i, line in enumerate(wrapped):
            self.text((box.x + 14, box.y + 44 + 17 * i), line, 12, SOFT, parent=group)
        return box

    def chips(self, at: Point, width: float, colours: Colours, title: str, chips: Sequence[str]) -> Box:
        """Draw and return a box of a title and rows of chips."""
        box = Box(*at, width, chips_height(chips, width))
        group = self._frame(box, colours)
        self.text((box.x + 12, box.y + 23), title, 13, weight="600", parent=group)
        for i, row in enumerate(_rows(chips, width - 24)):
            x, y = box.x + 12, box.y + 34 + CHIP_STEP * i
            for text, hint in row:
                chip = ET.SubElement(group, "g", {"class": "box chip"})
                if hint:
                    ET.SubElement(chip, "title").text = hint
                outline = Box(x, y, _chip_width(text), 22)
                _rect(chip, outline, ("#ffffff", colours[1]), 11)
                self.text((outline.centre, y + 15), text, CHIP_SIZE, side="middle", parent=chip)
                x = outline.right + 6
        return box

    def arrow(self, *points: Point, joint: bool = False) -> None:
        """Draw a line with a head; `joint` puts a dot where it leaves another line."""
        path = "M" + " L".join(f"{x:g},{y:g}" for x, y in points)
        style = {"fill": "none", "stroke": LINE, "stroke-width": "1.4", "marker-end": "url(#head)"}
        ET.SubElement(self.root, "path", {"d": path, **style})
        if joint:
            x, y = points[0]
            ET.SubElement(self.root, "circle", cx=f"{x:g}", cy=f"{y:g}", r="2.6", fill=LINE)

    def text(
        self, at: Point, text: str, size: float, colour: str = INK, *, weight: str = "400", side: str = "start",
        family: str = SANS, parent: ET.Element | None = None,
    ) -> None:  # fmt: skip
        style = {"font-size": f"{size:g}", "font-weight": weight, "font-family": family, "text-anchor": side}
        place = {"x": f"{at[0]:g}", "y": f"{at[1]:g}", "fill": colour}
        ET.SubElement(self.root if parent is None else parent, "text", {**place, **style}).text = text

    def _frame(self, box: Box, colours: Colours) -> ET.Element:
        group = ET.SubElement(self.root, "g", {"class": "box"})
        _rect(group, box, colours, 8)
        return group


def chips_height(chips: Sequence[str], width: float) -> float:
    """The height of the box that `Picture.chips` draws."""
    return 44 + CHIP_STEP * len(_rows(chips, width - 24))


def _rect(parent: ET.Element, box: Box, colours: Colours, radius: float) -> None:
    x, y, width, height = (f"{n:g}" for n in box)
    place = {"x": x, "y": y, "width": width, "height": height, "rx": f"{radius:g}"}
    ET.SubElement(parent, "rect", {**place, "fill": colours[0], "stroke": colours[1]})


def _fitting(width: float, size: float) -> int:
    """The number of characters that fit."""
    return int(width / (size * CHARACTER))


def _chip_width(text: str) -> float:
    return len(text) * CHIP_SIZE * CHARACTER + 16


def _rows(chips: Sequence[str], width: float) -> list[list[tuple[str, str]]]:
    """Chips as (text, hint) in rows of at most `width`; a long text is cut, and chips beyond MOST_ROWS are counted.

    The hint holds what the text leaves out.
    """
    most = _fitting(width - 16, CHIP_SIZE)
    rows: list[list[tuple[str, str]]] = [[]]
    left = width
    for i, chip in enumerate(chips):
        text, hint = (chip, "") if len(chip) <= most else (chip[: most - 1] + "…", chip)
        if rows[-1] and left < _chip_width(text):
            if len(rows) == MOST_ROWS:
                return [*rows[:-1], _with_count(rows[-1], chips[:i], chips[i:], width)]
            rows.append([])
            left = width
        rows[-1].append((text, hint))
        left -= _chip_width(text) + 6
    return rows


def _with_count(
    row: list[tuple[str, str]], shown: Sequence[str], hidden: Sequence[str], width: float
) -> list[tuple[str, str]]:
    """The last row with as many of its chips as leave room for "+ 12 more"."""
    while True:
        count = f"+ {len(hidden)} more"
        if not row or sum(_chip_width(text) + 6 for text, _ in row) + _chip_width(count) <= width:
            return [*row, (count, ", ".join(hidden))]
        row, hidden, shown = row[:-1], [shown[-1], *hidden], shown[:-1]
