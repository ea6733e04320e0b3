"""Ids by count, then value; what training did not see is unknown."""

import numpy as np
import pandas as pd
import pytest

from dienjax.data.vocabulary import build, codes


def test_ids_by_descending_count_then_value():
    column = pd.Series(["b", "a", "c", "c", "d", None])
    code, values = codes(column)
    vocabulary = build(code, values, np.array([True, True, True, True, False, True]))
    assert vocabulary.ids(code).tolist() == [4, 3, 2, 2, 1, 1]
    assert vocabulary.frame.to_dict("list") == {"id": [2, 3, 4], "value": ["c", "a", "b"], "count": [2, 1, 1]}
    assert vocabulary.size == 5


def test_digest_follows_the_values_not_the_order_of_the_log():
    digests = []
    for values in (["x", "y", "y"], ["y", "x", "y"], ["z", "y", "y"]):
        code, distinct = codes(pd.Series(values))
        digests.append(build(code, distinct, np.ones(3, bool)).digest)
    assert digests[0] == digests[1] != digests[2]


def test_mixed_types_are_refused():
    with pytest.raises(ValueError, match=r"'item' holds mixed-integer values.*astype\(str\)"):
        codes(pd.Series([1, "a"], name="item"))
