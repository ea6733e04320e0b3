"""Ids by count, then value; what training did not see, or rarely, is unknown; or ids as they were before."""

import numpy as np
import pandas as pd
import pytest

from dienjax.preparation.vocabulary import counts, number

LETTERS = pd.Series(["a", "b", "c", "d"])


def test_ids_by_descending_count_then_value():
    code = np.array([1, 0, 2, 2, 3, -1])
    count = counts(code, np.array([True, True, True, True, False, True]), 4)
    vocabulary = number(LETTERS, count)
    assert vocabulary.id_of_code[code].tolist() == [4, 3, 2, 2, 1, 1]
    assert vocabulary.frame.to_dict("list") == {"id": [2, 3, 4], "value": ["c", "a", "b"], "count": [2, 1, 1]}
    assert vocabulary.size == 5


def test_rare_values_are_unknown():
    vocabulary = number(LETTERS, np.array([3, 1, 2, 0]), min_count=2)
    assert vocabulary.frame["value"].tolist() == ["a", "c"]
    assert vocabulary.id_of_code[np.arange(4)].tolist() == [2, 1, 3, 1]


def test_digest_follows_the_values_and_their_ids():
    digests = [number(LETTERS, np.array(count)).digest for count in ([1, 2, 0, 0], [1, 9, 0, 0], [2, 1, 0, 0])]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("grow", [False, True])
def test_earlier_values_keep_their_ids(grow):
    earlier = number(pd.Series(["b", "x", "d"]), np.array([5, 4, 3])).frame
    vocabulary = number(LETTERS, np.array([1, 7, 9, 0]), like=earlier, grow=grow)
    assert vocabulary.id_of_code[np.array([0, 1, 2, 3, -1])].tolist() == ([6, 2, 5, 4, 1] if grow else [1, 2, 1, 4, 1])
    assert vocabulary.frame["value"].tolist() == ["b", "x", "d", "c", "a"][: 5 if grow else 3]
    assert vocabulary.frame["count"].tolist() == [7, 0, 0, 9, 1][: 5 if grow else 3]


def test_the_same_values_have_the_same_digest_as_the_earlier_ones():
    first = number(LETTERS, np.array([1, 2, 3, 4]))
    assert number(LETTERS[1:], np.array([1, 1, 1]), like=first.frame).digest == first.digest


def test_whole_numbers_of_a_text_file_may_have_been_names():
    earlier = number(pd.Series(["007", "12"]), np.array([2, 1])).frame
    assert number(pd.Series([7, 12]), np.array([1, 1]), like=earlier).id_of_code[np.arange(2)].tolist() == [1, 3]


@pytest.mark.parametrize(
    ("earlier", "value", "ids", "rewritten"),
    [
        (["4", "5.5", "x"], ["4", "x", "y"], [2, 4, 1], 0),
        (["4", "5", "x"], [4.0, 5.5], [2, 1], 1),
        (["4.0", "5.5"], [4, 6], [2, 1], 1),
        (["4", "5"], ["4.0", "5.5"], [2, 1], 1),
        (["4", "4.0", "5"], [4.0, 5.0], [1, 4], 1),
        ([4, 5], ["4.0", "N/A", "007"], [2, 1, 1], 1),
        ([4, 5], [4.0, 5.5], [2, 1], 0),
        ([4.0, 5.5], [4, 5], [2, 1], 0),
        ([4.0, 5.5], ["4", "5.5", "x"], [2, 3, 1], 1),
        ([True, False], [0, 1], [3, 2], 2),
        ([True, False], [0.0, 0.5, 1.0], [3, 1, 2], 2),
        ([True, False], ["FALSE", "true", "?"], [3, 2, 1], 2),
        ([True], ["TRUE", "true"], [1, 1], None),
        ([1, 0], [False, True], [3, 2], 2),
        (["true", "false"], [False, True], [3, 2], 2),
        (["x", "y"], [4, 5], [1, 1], 0),
        ([4, 5], [6, 7], [1, 1], 0),
        ([4, 5], [True], [1], None),
        ([4, 5], ["a", "b"], [1, 1], None),
    ],
)
def test_the_earlier_type_decides(earlier, value, ids, rewritten):
    """None: refused, as no value is an earlier one."""
    before = number(pd.Series(earlier), np.arange(len(earlier), 0, -1)).frame
    if rewritten is None:
        with pytest.raises(ValueError, match=r"holds values such as .*expected the same type: convert it"):
            number(pd.Series(value), np.ones(len(value), int), like=before)
        return
    vocabulary = number(pd.Series(value), np.ones(len(value), int), like=before)
    assert vocabulary.id_of_code[np.arange(len(value))].tolist() == ids
    assert vocabulary.frame["value"].tolist() == before["value"].tolist()
    assert (vocabulary.rewritten, vocabulary.all_unknown) == (rewritten, set(ids) == {1})


@pytest.mark.parametrize(
    ("earlier", "value", "grown"),
    [
        ([4, 5], [4.0, 7.0], [4, 5, 7]),
        ([4, 5], [4.0, 5.5], None),
        ([4, 5], ["4", "x"], None),
        ([4, 5], ["4", "6"], [4, 5, 6]),
        (["4", "x"], [4, 7], ["4", "x", "7"]),
        (["4", "x"], [4.0, 5.5], ["4", "x", "5.5"]),
        ([4.5, 5.0], [5, 6], [4.5, 5.0, 6.0]),
        ([True], [0, 1], [True, False]),
    ],
)
def test_what_is_appended_is_of_the_earlier_type(earlier, value, grown):
    before = number(pd.Series(earlier), np.ones(len(earlier), int)).frame
    if grown is None:
        with pytest.raises(ValueError, match=r"cannot be of the earlier store's type, int64.*leave out grow"):
            number(pd.Series(value), np.ones(len(value), int), like=before, grow=True)
        return
    values = number(pd.Series(value), np.ones(len(value), int), like=before, grow=True).frame["value"]
    assert values.tolist() == grown and values.dtype == before["value"].dtype


def test_other_types_than_before_are_refused():
    earlier = number(pd.Series([7, 12]), np.array([2, 1])).frame
    with pytest.raises(ValueError, match="holds values such as 'a', but the earlier store such as '7'"):
        number(LETTERS, np.ones(4, int), like=earlier)
