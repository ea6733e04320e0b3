"""A field that alone tells the labels is named, one that cannot is not, however many values it has."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dienjax.data.store import Candidates
from dienjax.inspection import separation
from dienjax.inspection.inspect import inspect, summary, warnings
from dienjax.inspection.separation import aucs
from dienjax.preparation.prepare import prepare
from dienjax.schema import Behaviour, Dense, Schema, Sparse, Table
from dienjax.training.metrics import auc

SCHEMA = Schema(
    (Table("item", 5000), Table("page", 12)), (Behaviour("item"),), (Sparse("page", of="candidate"),),
    (Dense("price", of="candidate"),),
)  # fmt: skip
STORE = SimpleNamespace(schema=SCHEMA, events={"item": None})


@pytest.fixture
def shown():
    """3,000 samples of 1 to 3 candidates; nothing tells their labels."""
    rng = np.random.default_rng(1)
    first = np.append(0, rng.integers(1, 4, 3000).cumsum())
    C = first[-1]
    field = {"item": rng.integers(1, 5000, C), "page": rng.integers(1, 12, C), "price": rng.normal(size=C)}
    return Candidates(first, np.zeros(3000), field, rng.integers(0, 2, C).astype(np.float32))


def test_noise_tells_nothing(shown):
    alone, unknown = aucs(STORE, shown)
    assert alone.keys() == {"item", "page", "price"} and unknown.keys() == {"item", "page"}
    assert all(abs(value - 0.5) < 0.03 for value in (*alone.values(), *unknown.values()))


@pytest.mark.parametrize("block", [7, 1 << 20])
def test_the_auc_is_that_of_label_means_measured_on_the_samples_between(shown, block, monkeypatch):
    monkeypatch.setattr(separation, "BLOCK", block * 2)
    shown.label_C[:] = np.random.default_rng(2).random(len(shown.label_C)) < shown.field["page"] / 12
    odd = np.repeat(np.arange(3000) % 2, np.diff(shown.first)) == 1
    page, label = shown.field["page"], shown.label_C
    overall = label[~odd].mean()
    mean = [(label[~odd & (page == v)].sum() + overall) / ((~odd & (page == v)).sum() + 1) for v in range(12)]
    alone, unknown = aucs(STORE, shown)
    assert alone["page"] == pytest.approx(auc(np.array(mean)[page[odd]], label[odd]))
    assert unknown["page"] == pytest.approx(auc((page == 1).astype(float), label))


@pytest.mark.parametrize("field", ["item", "page", "price"])
def test_what_tells_is_found_whatever_its_form(shown, field):
    """A number need not rise with the label: here it is the middle that does."""
    value = shown.field[field]
    shown.label_C[:] = np.abs(value) < 0.5 if field == "price" else value % 2
    alone, _ = aucs(STORE, shown)
    assert alone[field] > (0.75 if field == "item" else 0.98)  # an item of 5,000 is seen once or not at all
    assert all(abs(value - 0.5) < 0.03 for name, value in alone.items() if name != field)


def test_an_unknown_id_that_tells(shown):
    shown.field["item"][shown.label_C == 1] = np.where(np.arange(int(shown.label_C.sum())) % 3, 1, 7)
    assert aucs(STORE, shown)[1]["item"] == pytest.approx(0.5 + 1 / 3, abs=0.01)


def test_too_few_labels_or_others_than_0_and_1_say_nothing(shown):
    for label in (np.ones(len(shown.label_C)), np.arange(len(shown.label_C)) < 20, shown.label_C * 2):
        shown.label_C[:] = label
        assert set(aucs(STORE, shown)[0].values()) == {None}


def test_a_column_that_is_the_label_under_another_name_is_a_warning(tmp_path):
    rng = np.random.default_rng(0)
    shown = pd.DataFrame({"u": rng.integers(0, 40, 900), "i": rng.integers(0, 9, 900), "t": rng.integers(0, 99, 900)})
    shown["y"], shown["stars"] = rng.integers(0, 2, 900), rng.integers(1, 6, 900)
    shown["told"] = np.where(shown["y"] == 1, 4.5, 1.5)
    roles = {"user": "u", "item": "i", "time": "t", "impressions": shown, "label": "y", "dense": ["stars", "told"]}
    store = prepare(shown[["u", "i", "t"]], tmp_path / "s", **roles)
    (warning,) = [line for line in warnings(inspect(store)) if "train" in line]
    assert warning.startswith("WARNING: candidate field told alone separates the labels of train: AUC 1.000; was it")
    assert summary(store).startswith("WARNING: candidate field told alone")
