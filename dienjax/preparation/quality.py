"""What a sorted log holds that its owner may want to know: repeated events, items with two categories."""

import numpy as np


def repeated(user_E: np.ndarray, time_E: np.ndarray, item_E: np.ndarray) -> np.ndarray:
    """A mask [E] of the rows that repeat the user, time and item of an earlier one; rows are sorted by (user, time)."""
    again_E = np.zeros(len(user_E), bool)
    same = (user_E[1:] == user_E[:-1]) & (time_E[1:] == time_E[:-1])
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    run = np.cumsum(np.append(True, ~same))[tied] if len(tied) else tied
    order = np.lexsort((item_E[tied], run))
    run, item, row = run[order], item_E[tied][order], tied[order]
    again_E[row[1:][(run[1:] == run[:-1]) & (item[1:] == item[:-1])]] = True
    return again_E


def items_with_several(item_E: np.ndarray, value_E: np.ndarray) -> int:
    """The number of items that have more than one value (-1, a missing one, does not count)."""
    known = value_E >= 0
    item, value = item_E[known], value_E[known]
    any_V = np.zeros(item.max(initial=-1) + 1, value.dtype)
    any_V[item] = value
    return len(np.unique(item[value != any_V[item]]))
