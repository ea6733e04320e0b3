"""The hint that an error gives for a name that is not known."""

import pytest

from dienjax.errors import nearest

KNOWN = ["item_id", "cate_id", "item_ids", "timestamp"]
HINTS = {
    "a slip": ("timestanp", KNOWN, "did you mean 'timestamp'?"),
    "several, best first": ("item_i", KNOWN, "did you mean 'item_id' or 'item_ids'"),
    "nothing close": ("zzz", KNOWN, "known names: cate_id, item_id, item_ids, timestamp"),
    "nothing known": ("zzz", [], "known names: none"),
    "any iterable": ("b", iter({"b1": 0, "c": 1}), "did you mean 'b1'?"),
}


@pytest.mark.parametrize("case", HINTS)
def test_nearest(case):
    name, known, hint = HINTS[case]
    assert nearest(name, known).startswith(hint)
