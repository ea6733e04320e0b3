"""The batch: what `check` refuses, where it says the fault is, and the batch's abstract shapes."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import builders
from builders import CHANNELS, EVERY_KIND, SCHEMA, make_batch
from dienjax.batch import Batch


def changed(group, name, of, schema=SCHEMA):
    """A batch whose array `name` of `group` went through `of`; of=None removes it."""
    batch = make_batch(schema=schema)
    arrays = dict(getattr(batch, group))
    value = arrays.pop(name, None)
    return batch.replace(**{group: arrays if of is None else arrays | {name: of(value)}})


def set_at(index, value):
    def of(array):
        array = array.copy()
        array[index] = value
        return array

    return of


def with_field(name, of):
    batch = make_batch()
    return batch.replace(**{name: of(getattr(batch, name))})


def float64(array):
    return array.astype(np.float64)


FLOAT = "has dtype float64; expected"
# what is wrong: the batch, the error, what it says
REFUSED = {
    "missing": (changed("history", "item", None), ValueError, r"history\['item'\] is missing; expected \['category'"),
    "misspelt": (
        changed("user", "citty", lambda _: np.zeros(6, np.int32)),
        ValueError,
        r"user\['citty'\] is not in the schema; expected \['age', 'city'\]",
    ),
    "missing negative": (changed("negative", "category", None), ValueError, r"negative\['category'\] is missing"),
    "missing candidate feature": (changed("candidate", "price", None), ValueError, r"candidate\['price'\] is missing"),
    "history too short": (
        changed("history", "item", lambda a: a[:, :3]),
        ValueError,
        r"history\['item'\] has shape \(6, 3\); expected \(6, 4\)",
    ),
    "user per candidate": (
        changed("user", "age", lambda a: a[:, None]),
        ValueError,
        r"user\['age'\] has shape \(6, 1\); expected \(6,\)",
    ),
    "candidates of another K": (
        changed("candidate", "slot", lambda a: a[:, :1]),
        ValueError,
        r"candidate\['slot'\] has shape \(6, 1\); expected \(6, 3\)",
    ),
    "negative shape": (changed("negative", "item", lambda a: a[:5]), ValueError, r"negative\['item'\] has shape"),
    "label shape": (with_field("label_BK", lambda a: a[:, :2]), ValueError, r"label_BK has shape \(6, 2\)"),
    "rows of mask_BK": (with_field("mask_BK", lambda a: a[:5]), ValueError, r"mask_BK has shape \(5, 3\)"),
    "hist_label shape": (with_field("hist_label_BT", lambda a: a[:, :2]), ValueError, r"hist_label_BT has shape"),
    "mask_BT without slots": (with_field("mask_BT", lambda a: a[:, 0]), ValueError, r"mask_BT has shape \(6,\)"),
    "mask_BK without candidates": (with_field("mask_BK", lambda a: a[:, 0]), ValueError, r"mask_BK has shape \(6,\)"),
    "int64 ids": (
        changed("history", "item", lambda a: a.astype(np.int64)),
        TypeError,
        r"history\['item'\] has dtype int64; expected int32: convert it with .astype",
    ),
    "float ids": (changed("candidate", "item", float64), TypeError, rf"candidate\['item'\] {FLOAT} int32"),
    "float64 numbers": (changed("user", "age", float64), TypeError, rf"user\['age'\] {FLOAT} float32"),
    "number mask": (with_field("mask_BT", float64), TypeError, f"mask_BT {FLOAT} bool"),
    "number candidate mask": (with_field("mask_BK", float64), TypeError, f"mask_BK {FLOAT} bool"),
    "float64 labels": (with_field("label_BK", float64), TypeError, f"label_BK {FLOAT} float32"),
    "float64 hist_label": (with_field("hist_label_BT", float64), TypeError, f"hist_label_BT {FLOAT} float32"),
    "id too large": (
        changed("history", "item", set_at((2, 1), 12)),
        ValueError,
        r"history\['item'\] holds id 12 at \(2, 1\); its table has ids 0 to 11: map unknown values to id 1",
    ),
    "negative id": (changed("user", "city", set_at(3, -1)), ValueError, r"user\['city'\] holds id -1 at \(3,\)"),
    "candidate id": (changed("candidate", "slot", set_at((0, 0), 8)), ValueError, r"holds id 8 at \(0, 0\)"),
    "sampled id": (changed("negative", "category", set_at((2, 3), 9)), ValueError, r"negative\[.*\] holds id 9"),
    "NaN": (
        changed("candidate", "price", set_at((1, 2), np.nan)),
        ValueError,
        r"candidate\['price'\] holds nan at \(1, 2\); expected finite numbers",
    ),
    "infinite": (changed("user", "age", set_at(4, -np.inf)), ValueError, r"user\['age'\] holds -inf at \(4,\)"),
    "NaN label": (with_field("label_BK", set_at((0, 1), np.nan)), ValueError, r"label_BK holds nan at \(0, 1\)"),
    "left padding": (
        with_field("mask_BT", lambda a: a[:, ::-1]),
        ValueError,
        "real behaviour after a padded one; expected right padding: move the real behaviours to the front",
    ),
    "hole": (with_field("mask_BT", set_at((2, 1), False)), ValueError, "real behaviour after a padded one"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name):
    batch, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        batch.check(SCHEMA)


ACCEPTED = {
    "ragged": make_batch(),
    "no negatives": make_batch(negatives=False),
    "no hist_label": make_batch().replace(hist_label_BT=None),
    "one slot": make_batch((0, 1), T=1),
    "one row": make_batch((2,), K=1),
    "on device": jax.tree.map(jax.numpy.asarray, make_batch()),
    "largest and smallest id": changed("history", "item", set_at((2, slice(0, 2)), (11, 0))),
    "no rows": jax.tree.map(lambda a: a[:0], make_batch()),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepts(name):
    ACCEPTED[name].check(SCHEMA)


def test_sets_and_numbers_of_events():
    batch = make_batch(schema=EVERY_KIND)
    batch.check(EVERY_KIND)
    assert batch.history["tags"].shape == (6, 4, 3) and batch.candidate["price"].shape == (6, 3)
    assert batch.user["hobbies"].shape == (6, 2) and batch.candidate["slot"].shape == (6, 3, 1)


@pytest.mark.parametrize(
    ("name", "of", "message"),
    [
        ("dwell", set_at((2, 1), np.nan), r"\['dwell'\] holds nan at \(2, 1\); expected finite numbers"),
        ("price", set_at((2, 1), np.inf), r"\['price'\] holds inf at \(2, 1\)"),
        ("tags", lambda a: a[..., 0], r"\['tags'\] has shape \(6, 4\); expected \(6, 4, 3\)"),
        ("tags", set_at((2, 1, 0), 9), r"\['tags'\] holds id 9 at \(2, 1, 0\); its table has ids 0 to 8"),
    ],
)
def test_refuses_sets_and_numbers(name, of, message):
    with pytest.raises(ValueError, match=rf"Batch.history{message}"):
        changed("history", name, of, EVERY_KIND).check(EVERY_KIND)


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (lambda a: None, "is missing, and the schema has 3 channels"),
        (lambda a: a.astype(np.int32), "has dtype int32; expected int8"),
        (lambda a: a[:, :2], r"has shape \(6, 2\)"),
        (set_at((2, 1), 3), "holds another number than 0 to 2 for a real behaviour"),
        (set_at((2, 1), -1), "holds another number than 0 to 2"),
    ],
)
def test_refuses_channels(of, message):
    batch = make_batch(schema=CHANNELS)
    batch.check(CHANNELS)
    with pytest.raises((TypeError, ValueError), match=f"Batch.channel_BT {message}"):
        batch.replace(channel_BT=of(batch.channel_BT)).check(CHANNELS)


def test_refuses_channels_that_are_not_there_or_too_long():
    batch = make_batch(schema=CHANNELS)
    with pytest.raises(ValueError, match="channel_BT is there, and the schema has 0 channels"):
        batch.check(replace(CHANNELS, type="", channels=()))
    short = replace(CHANNELS, channels=(replace(CHANNELS.channels[0], most=1), *CHANNELS.channels[1:]))
    with pytest.raises(ValueError, match="channel 'click' in row 2; expected at most its 1: keep the most recent"):
        batch.replace(channel_BT=np.zeros_like(batch.channel_BT)).check(short)


@pytest.mark.parametrize("schema", [SCHEMA, EVERY_KIND, CHANNELS], ids=["ids", "every kind", "channels"])
def test_abstract_has_the_shapes_of_a_batch(schema):
    def shapes(batch):
        return jax.tree.map(lambda a: (a.shape, a.dtype), batch)

    full = make_batch(schema=schema).replace(hist_label_BT=None)
    assert shapes(Batch.abstract(schema, 6, 4, 3, negatives=True)) == shapes(full)
    assert shapes(Batch.abstract(schema, 6, 4, 3)) == shapes(full.replace(negative=None))


def test_abstract_takes_symbolic_dimensions():
    B, T, K = jax.export.symbolic_shape("B, T, K")
    abstract = Batch.abstract(SCHEMA, B, T, K)
    assert abstract.history["item"].shape == (B, T) and abstract.label_BK.shape == (B, K)


def test_the_builder_makes_what_its_docstring_says():
    batch = make_batch()
    assert batch.mask_BT.sum(axis=1).tolist() == [0, 1, 4, 2, 3, 0]
    assert batch.mask_BK.sum(axis=1).tolist() == [3, 2, 1, 3, 2, 0]
    assert (batch.history["item"][batch.mask_BT] >= builders.FIRST_REAL).all()
    assert not batch.history["item"][~batch.mask_BT].any()
