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
    assert vocabulary.ids(code).tolist() == [4, 3, 2, 2, 1, 1]
    assert vocabulary.frame.to_dict("list") == {"id": [2, 3, 4], "value": ["c", "a", "b"], "count": [2, 1, 1]}
    assert vocabulary.size == 5


def test_rare_values_are_unknown():
    vocabulary = number(LETTERS, np.array([3, 1, 2, 0]), min_count=2)
    assert vocabulary.frame["value"].tolist() == ["a", "c"]
    assert vocabulary.ids(np.arange(4)).tolist() == [2, 1, 3, 1]


def test_digest_follows_the_values_and_their_ids():
    digests = [number(LETTERS, np.array(count)).digest for count in ([1, 2, 0, 0], [1, 9, 0, 0], [2, 1, 0, 0])]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("grow", [False, True])
def test_earlier_values_keep_their_ids(grow):
    earlier = number(pd.Series(["b", "x", "d"]), np.array([5, 4, 3])).frame
    vocabulary = number(LETTERS, np.array([1, 7, 9, 0]), like=earlier, grow=grow)
    assert vocabulary.ids(np.array([0, 1, 2, 3, -1])).tolist() == ([6, 2, 5, 4, 1] if grow else [1, 2, 1, 4, 1])
    assert vocabulary.frame["value"].tolist() == ["b", "x", "d", "c", "a"][: 5 if grow else 3]
    assert vocabulary.frame["count"].tolist() == [7, 0, 0, 9, 1][: 5 if grow else 3]


def test_the_same_values_have_the_same_digest_as_the_earlier_ones():
    first = number(LETTERS, np.array([1, 2, 3, 4]))
    assert number(LETTERS[1:], np.array([1, 1, 1]), like=first.frame).digest == first.digest


def test_whole_numbers_of_a_text_file_may_have_been_names():
    earlier = number(pd.Series(["007", "12"]), np.array([2, 1])).frame
    assert number(pd.Series([7, 12]), np.array([1, 1]), like=earlier).ids(np.arange(2)).tolist() == [1, 3]


def test_other_types_than_before_are_refused():
    earlier = number(pd.Series([7, 12]), np.array([2, 1])).frame
    with pytest.raises(ValueError, match="holds values such as 'a', but the earlier store such as '7'"):
        number(LETTERS, np.ones(4, int), like=earlier)
