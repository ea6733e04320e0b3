"""Which values a step hides: a share of each table's, the same everywhere in the batch, never padding or unknown."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import builders
from dienjax.batch import Batch
from dienjax.schema import PADDING, UNKNOWN, Behaviour, Schema, Sparse, Table
from dienjax.training.lazy_rows import renumber
from dienjax.training.unknown import hide, mixed

SCHEMA = Schema(
    tables=(Table("item", 5000, 2), Table("kind", 5000, 2)),
    behaviours=(Behaviour("item"), Behaviour("kind")),
    sparse=(Sparse("liked", "item"),),
)
KEY = jax.random.key(4)


@pytest.fixture(scope="module")
def every():
    """Each id once in a history, a negative and a candidate of either table; the user has those of the first."""
    ids = np.arange(5000, dtype=np.int32).reshape(50, 100)
    fields = {"item": ids, "kind": ids}
    batch = Batch.abstract(SCHEMA, 50, 100, 100, negatives=True)
    empty = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), batch)
    return replace(empty, history=fields, candidate=dict(fields), negative=dict(fields), user={"liked": ids[:, 7]})


def test_a_share_of_the_values_is_hidden_wherever_it_stands(every):
    hidden = jax.device_get(hide(every, SCHEMA, 0.1, KEY))
    for name in ("item", "kind"):
        got, ids = hidden.history[name], every.history[name]
        changed = got != ids
        assert (got[changed] == UNKNOWN).all()
        assert abs(changed.mean() - 0.1) < 0.015
        assert got[0, 0] == PADDING
        np.testing.assert_array_equal(hidden.negative[name], got)
        np.testing.assert_array_equal(hidden.candidate[name], got)
    np.testing.assert_array_equal(hidden.user["liked"], hidden.history["item"][:, 7])
    assert (hidden.history["item"] == hidden.history["kind"]).mean() < 0.9  # each table hides others
    for name in ("mask_BT", "mask_BK", "label_BK"):
        assert getattr(hidden, name) is getattr(every, name)


def test_other_values_in_another_step_and_none_without_a_share(every):
    one, again, other = (hide(every, SCHEMA, 0.1, key).history["item"] for key in (KEY, KEY, jax.random.key(5)))
    np.testing.assert_array_equal(one, again)
    assert 0.1 < (one != other).mean() < 0.25
    assert hide(every, SCHEMA, 0.0, KEY) is every


def test_positions_in_a_list_of_rows_hide_the_same_values():
    batch = builders.make_batch()
    rows = renumber(batch, builders.SCHEMA)
    whole = jax.device_get(hide(batch, builders.SCHEMA, 0.4, KEY))
    small = jax.device_get(hide(rows.batch, builders.SCHEMA, 0.4, KEY, rows.row_R))
    for group in ("user", "history", "candidate", "negative"):
        for name, ids in getattr(whole, group).items():
            position = getattr(small, group)[name]
            got = rows.row_R[name][position] if ids.dtype == np.int32 else position
            np.testing.assert_array_equal(got, ids)


def test_a_share_of_one_leaves_padding_and_unknown(every):
    assert set(np.unique(hide(every, SCHEMA, 1.0, KEY).history["item"])) == {PADDING, UNKNOWN}


def test_mixed_is_the_published_finaliser():
    # fmix32 of MurmurHash3, computed in whole numbers without a bound.
    def fmix32(h):
        h = (h ^ h >> 16) * 0x85EBCA6B % 2**32
        h = (h ^ h >> 13) * 0xC2B2AE35 % 2**32
        return h ^ h >> 16

    values = [0, 1, 2, 12345, 2**31, 2**32 - 1]
    assert mixed(np.array(values, np.uint32)).tolist() == [fmix32(v) for v in values]
