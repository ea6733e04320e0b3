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


class ItemsWithSeveral:
    """The items of a log that have more than one value (-1, a missing one, does not count), and how often it misses."""

    def __init__(self, items: int) -> None:
        self.value_I = np.full(items, -1, np.int32)
        self.several_I = np.zeros(items, bool)
        self.missing = 0

    def add(self, item_E: np.ndarray, value_E: np.ndarray) -> None:
        """Take in more events."""
        known = value_E >= 0
        self.missing += len(known) - int(np.count_nonzero(known))
        item, value = item_E[known], value_E[known]
        new = self.value_I[item] < 0
        self.value_I[item[new]] = value[new]
        self.several_I[item[value != self.value_I[item]]] = True
