"""Padded arrays become the batches they say, or an error."""

import numpy as np
import pytest

import builders
from dienjax.data.arrays import PaddedArrays
from dienjax.data.loader import Loader
from dienjax.schema import Behaviour, Dense, Schema, Sparse, Table

SCHEMA = Schema(
    tables=(Table("item", 10), Table("kind", 5), Table("gender", 4)),
    behaviours=(Behaviour("item"), Behaviour("kind")),
    sparse=(Sparse("gender"),),
    dense=(Dense("age"), Dense("price", of="candidate")),
)


def columns(**changes):
    base = {
        "hist_item": [[2, 3, 4, 0], [5, 0, 0, 0], [0, 0, 0, 0]],
        "hist_kind": [[2, 2, 3, 0], [4, 0, 0, 0], [0, 0, 0, 0]],
        "item": [6, 7, 1],
        "kind": [2, 3, 4],
        "gender": [2, 3, 2],
        "age": [0.5, 1, 2],
        "price": [1, 2, 3],
    }
    return {k: v for k, v in (base | changes).items() if v is not None}


def test_rows():
    data = PaddedArrays(SCHEMA, columns(hist_label=np.ones((3, 4))), label=[1, 0, 1])
    assert data.length_N.tolist() == [3, 1, 0]
    batch = data.rows(np.array([2, 0]), 2, 0)
    batch.check(SCHEMA)
    assert batch.history["item"].tolist() == [[0, 0], [3, 4]]
    assert batch.mask_BT.tolist() == [[False, False], [True, True]]
    assert batch.hist_label_BT.tolist() == [[0, 0], [1, 1]]
    assert batch.candidate["item"].tolist() == [[1], [6]]
    assert batch.candidate["price"].tolist() == [[3], [1]]
    assert batch.user["age"].tolist() == [2, 0.5]
    assert batch.label_BK.tolist() == [[1], [1]]
    assert batch.negative is None


def test_sets_and_numbers_of_events():
    """What a builder made, cut as a loader would and put together again."""
    schema, made = builders.EVERY_KIND, builders.make_batch(schema=builders.EVERY_KIND)
    arrays = {f"hist_{name}": value for name, value in made.history.items()}
    arrays |= {f"neg_hist_{name}": value for name, value in made.negative.items()}
    real_B = made.mask_BK.any(axis=1)
    given = {name: value[real_B] for name, value in (arrays | made.user | made.candidate).items()}
    data = PaddedArrays(schema, given, label=made.label_BK[real_B])
    batch = data.rows(np.arange(real_B.sum()), 4, 0)
    batch.check(schema)
    for group in ("user", "history", "candidate", "negative"):
        for name, value in getattr(made, group).items():
            np.testing.assert_array_equal(getattr(batch, group)[name], value[real_B])
    recent = data.rows(np.array([2]), 2, 0).history
    np.testing.assert_array_equal(recent["tags"], made.history["tags"][2:3, 2:])
    np.testing.assert_array_equal(recent["price"], made.history["price"][2:3, 2:])
    with pytest.raises(ValueError, match=r"'hist_tags' has shape \(5, 4\); expected \(5, 4, 3\)"):
        PaddedArrays(schema, given | {"hist_tags": given["hist_item"]})
    with pytest.raises(ValueError, match=r"'hist_dwell' holds nan at \(0, 0\); expected finite numbers"):
        PaddedArrays(schema, given | {"hist_dwell": np.full((5, 4), np.nan)})


def test_candidates_lengths_and_negatives_through_a_loader():
    given = columns(
        item=[[6, 7], [7, 0], [1, 2]],
        kind=[[2, 2], [3, 0], [4, 4]],
        price=np.ones((3, 2)),
        hist_length=[2, 1, 0],
        neg_hist_item=np.full((3, 4), 9),
        neg_hist_kind=np.full((3, 4), 4),
    )
    data = PaddedArrays(SCHEMA, given, user=["a", "b", "a"])
    assert data.user_N.tolist() == ["a", "b", "a"]
    batches = [b for _, b in Loader(data, 2, lengths=(1,), shuffle=False).epoch(0)]
    for batch in batches:
        batch.check(SCHEMA)
    assert batches[0].history["item"].tolist() == [[5], [0]]
    assert batches[1].history["item"].tolist() == [[2, 3], [0, 0]]
    assert batches[1].negative["item"].tolist() == [[9, 9], [0, 0]]
    assert batches[0].mask_BK.tolist() == [[True, False], [True, True]]
    assert batches[0].label_BK.tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hist_kind": None}, "'hist_kind' is missing; did you mean 'hist_item' or 'kind'|'hist_kind' is missing"),
        ({"ages": [1, 2, 3]}, "'ages' is not in the schema; did you mean 'age'"),
        ({"neg_hist_item": np.ones((3, 4), int)}, "'neg_hist_kind' is missing"),
        ({"gender": [1, 2]}, r"'gender' has shape \(2,\); expected \(3,\)"),
        ({"hist_kind": np.ones((3, 5), int)}, r"expected \(3, 4\)"),
        ({"hist_item": [1, 2, 3]}, r"expected \[N, T\]"),
        ({"hist_item": [[0, 0, 2, 3], [5, 0, 0, 0], [0, 0, 0, 0]]}, r"padding, at \(0, 0\).*right padding"),
        ({"hist_item": [[2, 0, 3, 0], [5, 0, 0, 0], [0, 0, 0, 0]]}, r"padding, at \(0, 1\)"),
        ({"item": [6, 10, 1]}, r"'item' holds id 10 at \(1, 0\); its table has ids 0 to 9"),
        ({"kind": [6, -1, 1]}, "'kind' holds id"),
        ({"item": [6, 0, 1]}, "no candidate in row 1"),
        ({"age": [1, np.nan, 2]}, r"'age' holds nan at \(1,\)"),
        ({"age": ["old", "1", "2"]}, "'age': could not convert"),
        ({"hist_length": [5, 1, 0]}, r"'hist_length' is 5 in row 0.*np.minimum\(hist_length, 4\)"),
        ({"hist_length": [3, 2, 0]}, r"padding, at \(1, 1\) within a history of 2"),
    ],
)
def test_wrong_columns(changes, message):
    with pytest.raises(ValueError, match=message):
        PaddedArrays(SCHEMA, columns(**changes))


def test_wrong_types_and_labels():
    with pytest.raises(TypeError, match="'gender' has dtype float64; expected integer ids"):
        PaddedArrays(SCHEMA, columns(gender=[1, np.nan, 2]))
    with pytest.raises(ValueError, match="'label' holds nan"):
        PaddedArrays(SCHEMA, columns(), label=[1, np.nan, 0])
    with pytest.raises(ValueError, match=r"'label' has shape \(2,\)"):
        PaddedArrays(SCHEMA, columns(), label=[1, 0])
    with pytest.raises(ValueError, match="user has shape"):
        PaddedArrays(SCHEMA, columns(), user=[1])
