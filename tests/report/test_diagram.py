"""The diagram shows this model, in boxes that hold their text."""

from functools import cache
from xml.etree import ElementTree as ET

from described import CASES, all_cases

from dienjax.drawing import svg
from dienjax.models import DIEN
from dienjax.report.diagram import diagram
from dienjax.report.shapes import brackets, shapes


@cache
def parse(case):
    return ET.fromstring(diagram(*CASES[case]))


def tagged(root, tag):
    return list(root.iter("{http://www.w3.org/2000/svg}" + tag))


def texts(root):
    return [element.text for element in tagged(root, "text")]


@cache
def stages(case):
    return {name: brackets(shape) for name, shape in shapes(*CASES[case]).stages.items()}


@all_cases
def test_the_diagram_is_xml_that_names_every_stage_field_and_table(case):
    root = parse(case)
    said = " | ".join(texts(root) + [element.text for element in tagged(root, "title")])
    _, schema, _ = CASES[case]
    for name in (*schema.field_names, *(t.name for t in schema.tables)):
        assert name in said
    for name, shape in stages(case).items():
        assert f"{name} {shape}" in tagged(root, "desc")[0].text
        if name != "tower_input_BKF":  # stands in the tower's box, as the first width
            at = texts(root).index(name)
            assert texts(root)[at + 1] == shape
    assert f"MLP {stages(case)['tower_input_BKF'].split()[-1][:-1]} → " in said


@all_cases
def test_boxes_are_those_of_the_model(case):
    model, _, loss = CASES[case]
    said = texts(parse(case))
    extracts = isinstance(model, DIEN)
    assert ("Interest extractor" in said) == ("Interest evolution" in said) == extracts
    assert any("GRU" in text for text in said) == extracts
    assert ("Weighted sum" in said) == (not extracts or model.kind == "GRU")
    for text in ("Auxiliary scorer", "Auxiliary loss", "Total loss", "× α", "Sampled negatives [B, T]"):
        assert (text in said) == (extracts and loss.alpha > 0), text


def test_boxes_say_how_they_compute():
    cases = ("augru", "gru", "min", "din", "din_plain")
    augru, gru, min_gru, din, plain = ("\n".join(texts(parse(case))) for case in cases)
    assert "AUGRU · author gate\nstate 5" in augru
    assert "minGRU · state 18" in min_gru and "minAUGRU · author gate\nstate 18" in min_gru
    assert "MLP 80-40 · dice\nsoftmax\n" in augru
    assert "MLP 100-50 · sigmoid" in augru
    assert "CTR loss + α · auxiliary loss, α = 0.5" in augru
    assert "bilinear\nno softmax\n" in gru
    assert "inner product" in gru
    assert "Σ weight · evolved" in gru
    assert "Σ weight · history" in din
    assert "logistic" in din
    assert "MLP 36 → 9 → 1 · dice · dropout 0.1" in plain
    assert "squared error" in plain


def extent(text):
    """Left and right end of a text element, by the number of its characters."""
    x, width = float(text.get("x")), len(text.text) * float(text.get("font-size")) * svg.CHARACTER
    left = x - {"start": 0, "middle": width / 2, "end": width}[text.get("text-anchor")]
    return left, left + width


def rectangle(element):
    x, y, width, height = (float(element.get(name)) for name in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


@all_cases
def test_texts_stay_in_their_boxes_and_boxes_apart(case):
    root = parse(case)
    page = float(root.get("width")), float(root.get("height"))
    outlines = []
    for group in (g for g in tagged(root, "g") if g.get("class", "").startswith("box")):
        left, top, right, bottom = rectangle(group.find("{*}rect"))
        assert left >= 0 and top >= 0 and right <= page[0] and bottom <= page[1]
        for text in group.findall("{*}text"):
            x0, x1 = extent(text)
            assert left + 5 <= x0, text.text
            assert x1 <= right - 5, text.text
            assert top + 10 <= float(text.get("y")) <= bottom - 4, text.text
        for chip in group.findall("{*}g"):
            x0, y0, x1, y1 = rectangle(chip.find("{*}rect"))
            assert left < x0 and top < y0 and x1 < right and y1 < bottom
        if group.get("class") == "box":
            outlines.append((left, top, right, bottom))
    for i, a in enumerate(outlines):
        for b in outlines[:i]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)


@all_cases
def test_labels_on_arrows_lie_outside_of_boxes_and_apart(case):
    root = parse(case)
    boxes = [rectangle(g.find("{*}rect")) for g in tagged(root, "g") if g.get("class") == "box"]
    free = tagged(root, "g")[0].findall("{*}text")
    areas = [(*extent(text), float(text.get("y"))) for text in free]
    for i, (x0, x1, y) in enumerate(areas):
        assert not any(l < x1 and x0 < r and t < y and y - 8 < b for l, t, r, b in boxes), free[i].text  # noqa: E741
        for j, (a0, a1, b) in enumerate(areas[:i]):
            assert a1 <= x0 or x1 <= a0 or abs(b - y) >= 11, (free[i].text, free[j].text)
