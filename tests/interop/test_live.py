"""deepctr-torch and torch-rechub beside dienjax: outputs, gradients, training steps; all variants are compared by
`python -m experiments.crosscheck_torch`."""

from pathlib import Path

import pytest

for module, package in (
    ("torch", "torch"),
    ("deepctr_torch", "deepctr-torch==0.3.0"),
    ("torch_rechub", "torch-rechub==0.9.0"),
):
    pytest.importorskip(module, reason=f"needs {package}: pip install '.[torch]'")

TITLES = [
    ("deepctr-torch", "DIN", "softmax off, Dice (its defaults)"),
    ("deepctr-torch", "DIEN", "AUGRU, softmax on"),
    ("deepctr-torch", "DIN", "sets: mean and sum"),
    ("deepctr-torch", "DIN", "sets: max"),
    ("torch-rechub", "DIN", "softmax off (its default)"),
    ("torch-rechub", "DIN", "sets: mean and sum"),
    ("torch-rechub", "DIEN", "two fields, dense, context"),
]


@pytest.fixture(autouse=True)
def repository(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))


@pytest.mark.parametrize("title", TITLES, ids=" ".join)
def test_a_variant_meets_its_targets(title):
    from experiments.crosscheck_torch.__main__ import compare_variant
    from experiments.crosscheck_torch.catalogue import VARIANTS

    [variant] = [v for v in VARIANTS if (v.source.replace("_", "-"), v.name, v.title) == title]
    row = compare_variant(variant, seed=0, steps=3)
    assert row["missed"] == []
    assert row["round_trip"]
