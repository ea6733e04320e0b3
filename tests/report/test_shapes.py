"""The table counts what the model has, and the diagram shows this model, in boxes that hold their text."""

from math import prod
from pathlib import Path
from xml.etree import ElementTree as ET

import jax
import pytest

from builders import SCHEMA
from dienjax.batch import Batch
from dienjax.drawing import svg
from dienjax.models import DIEN, DIN
from dienjax.report import shapes as describe
from dienjax.schema import Behaviour, Dense, Schema, Sparse, Table
from dienjax.training.config import Config
from dienjax.training.losses import LossConfig, has_auxiliary
from dienjax.training.run import Run

PLAIN = Schema((Table("item", 5000),), (Behaviour("item"),))
NAMES = ["item", "category", "brand", "shop", "price_band"]
WIDE = Schema(
    tables=(
        *(Table(name, 10 ** (3 + i), 8) for i, name in enumerate(NAMES)),
        *(Table(f"profile_{i}", 100 + i, 8) for i in range(60)),
        Table("a_rather_long_name_of_a_table_for_a_feature_of_the_context_of_the_candidate" * 2, 10, 4),
    ),
    behaviours=tuple(Behaviour(name) for name in NAMES),
    sparse=(
        *(Sparse(f"profile_{i}") for i in range(60)),
        Sparse("a_rather_long_name_of_a_table_for_a_feature_of_the_context_of_the_candidate" * 2, of="candidate"),
        Sparse("seller", "shop", of="candidate"),
    ),
    dense=(Dense("age"), Dense("price", of="candidate")),
)
NO_AUXILIARY = LossConfig(alpha=0)
CASES = {
    "din": (DIN(SCHEMA, softmax=True), SCHEMA, LossConfig()),
    "din_plain": (DIN(PLAIN, tower=(9,), dropout=0.1), PLAIN, LossConfig("regression")),
    "augru": (DIEN(SCHEMA, gate="author"), SCHEMA, LossConfig(alpha=0.5)),
    "agru": (DIEN(PLAIN, kind="AGRU", batch_norm=True), PLAIN, LossConfig()),
    "aigru": (DIEN(SCHEMA, kind="AIGRU", state=7), SCHEMA, NO_AUXILIARY),
    "gru": (DIEN(SCHEMA, kind="GRU", attention="bilinear", auxiliary="inner", softmax=False), SCHEMA, LossConfig()),
    "separate": (DIEN(SCHEMA, fields="separate", cell="torch_rechub", auxiliary="inner"), SCHEMA, LossConfig()),
    "wide": (DIEN(WIDE, attention_hidden=(512, 256, 128, 64, 32), tower=(99999,) * 30), WIDE, LossConfig()),
}
all_cases = pytest.mark.parametrize("case", CASES)


def variables(model, schema, loss):
    batch = Batch.abstract(schema, 2, 3, 4, negatives=has_auxiliary(model, loss))
    return jax.eval_shape(model.init, jax.random.key(0), batch)


def parse(case):
    return ET.fromstring(describe.diagram(*CASES[case]))


def tagged(root, tag):
    return list(root.iter("{http://www.w3.org/2000/svg}" + tag))


def texts(root):
    return [element.text for element in tagged(root, "text")]


def stages(case):
    lines = describe.table(*CASES[case]).split("\n\n")[-1].splitlines()[2:]
    return dict(line.split(maxsplit=1) for line in lines)


@all_cases
def test_the_total_is_the_real_count(case):
    leaves = variables(*CASES[case])
    lines = describe.table(*CASES[case]).splitlines()
    total = next(line.split() for line in lines if line.startswith("total"))
    assert int(total[1].replace(",", "")) == sum(prod(x.shape) for x in jax.tree.leaves(leaves["params"]))
    statistics = [line.split()[-1] for line in lines if line.startswith("running statistics")]
    expected = sum(prod(x.shape) for x in jax.tree.leaves(leaves.get("batch_stats", {})))
    assert int((statistics or ["0"])[0].replace(",", "")) == expected


@all_cases
def test_every_parameter_stands_under_its_module_with_shape_and_count(case):
    found, module = {}, ""
    for line in describe.table(*CASES[case]).split("\n\n")[1].splitlines()[2:]:
        words = line.replace(", ", ",").split()
        module = module if line.startswith(" ") else words[0]
        if line.startswith(" "):
            found[f"{module}/{words[0]}"] = (words[1], int(words[2].replace(",", "")))
    leaves = jax.tree.leaves_with_path(variables(*CASES[case])["params"])
    expected = {
        "/".join(key.key for key in path): (str(list(leaf.shape)).replace(" ", ""), prod(leaf.shape))
        for path, leaf in leaves
    }
    assert found == expected


def test_a_small_table_in_full():
    model = DIN(
        PLAIN.with_dims(2), attention_hidden=(3,), tower=(4,), attention_activation="relu", tower_activation="relu"
    )
    assert describe.table(model, model.schema).replace("─", "") == (
        "DIN\n\n"
        "module and parameter  shape      parameters   share\n"
        "\n"
        "embedder                             10,000   99.4%\n"
        "  item                [5000, 2]      10,000   99.4%\n"
        "attention                                31    0.3%\n"
        "  bias                [3]                 3    0.0%\n"
        "  kernel              [8, 3]             24    0.2%\n"
        "  mlp/out/bias        [1]                 1    0.0%\n"
        "  mlp/out/kernel      [3, 1]              3    0.0%\n"
        "tower                                    25    0.2%\n"
        "  dense_0/bias        [4]                 4    0.0%\n"
        "  dense_0/kernel      [4, 4]             16    0.2%\n"
        "  out/bias            [1]                 1    0.0%\n"
        "  out/kernel          [4, 1]              4    0.0%\n"
        "total                                10,056  100.0%\n\n"
        "stage            shape\n"
        "\n"
        "history_BTE      [B, T, 2]\n"
        "candidate_BKE    [B, K, 2]\n"
        "weight_BKT       [B, K, T]\n"
        "interest_BKE     [B, K, 2]\n"
        "tower_input_BKF  [B, K, 4]\n"
        "logit_BK         [B, K]"
    )


def test_stages_of_dien():
    assert stages("aigru") == {
        "history_BTE": "[B, T, 5]", "candidate_BKE": "[B, K, 5]", "user_BU": "[B, 3]", "context_BKC": "[B, K, 3]",
        "state_BTH": "[B, T, 7]", "weight_BKT": "[B, K, T]", "interest_BKH": "[B, K, 7]",
        "tower_input_BKF": "[B, K, 18]", "logit_BK": "[B, K]",
    }  # fmt: skip
    assert stages("gru")["evolved_BTH"] == "[B, T, 5]"
    assert stages("gru")["positive_logit_BS"] == stages("gru")["negative_logit_BS"] == "[B, T − 1]"


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
    augru, gru, din, plain = ("\n".join(texts(parse(case))) for case in ("augru", "gru", "din", "din_plain"))
    assert "AUGRU · author gate\nstate 5" in augru
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


def test_many_chips_become_a_count_with_the_names_in_a_hint():
    rows = svg._rows([f"field_{i}" for i in range(100)], 188)
    assert len(rows) == svg.MOST_ROWS
    shown = [text for row in rows for text, _ in row][:-1]
    count, hint = rows[-1][-1]
    assert shown == [f"field_{i}" for i in range(len(shown))]
    assert count == f"+ {100 - len(shown)} more"
    assert hint.split(", ") == [f"field_{i}" for i in range(len(shown), 100)]


def test_another_model_is_refused():
    class Other(DIN):
        pass

    with pytest.raises(TypeError, match="diagram got a Other; expected one of DIN, DIEN"):
        describe.diagram(Other(PLAIN), PLAIN)


def test_describe_file_of_a_run_and_of_a_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = Config.from_dict({"model": {"name": "DIEN", "kind": "AGRU", "dim": 4}, "loss": {"alpha": 0.0}})
    Run.create(tmp_path / "run", config, SCHEMA)
    said = describe.describe_file(tmp_path / "run")
    assert said.startswith("DIEN · AGRU")
    assert "scorer" not in said
    assert said.endswith(f"diagram: {tmp_path / 'run' / 'model.svg'}")
    ET.parse(tmp_path / "run" / "model.svg")
    config.save("mine.toml")
    said = describe.describe_file("mine.toml")
    assert "The schema is an example" in said
    assert "[10000, 4]" in said
    ET.parse(Path("mine.svg"))
    assert describe.describe_file("mine.toml", svg="other.svg").endswith("diagram: other.svg")
    ET.parse(Path("other.svg"))
