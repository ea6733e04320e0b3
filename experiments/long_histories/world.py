"""A generated world of interests that return: how much is known of the next event grows with the length of the history.

A user has N of C interests for life. An event is an item of the current interest, and shows it without noise. The next
event stays with it with probability `stays`; else it is of one of the user's N, each as probable as any other. A short
history has seen few of them, a long one nearly all.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class ReturningWorld:
    """The parameters of a world; the log and the true probabilities are functions of them alone.

    All users have `events` events. `items` is a multiple of `categories`, each of which has as many, equally popular.
    """

    users: int = 6000
    events: int = 1003
    categories: int = 200
    items: int = 400
    interests: int = 50
    stays: float = 0.5
    seed: int = 0

    @property
    def category_V(self) -> np.ndarray:
        """The category of each item."""
        return np.arange(self.items) % self.categories

    def log(self) -> pd.DataFrame:
        """The events of all users: integer columns user, item, category, time (seconds), in order of user and time."""
        rng = np.random.default_rng(self.seed)
        shape_UT = (self.users, self.events)
        own_UN = rng.permuted(np.tile(np.arange(self.categories), (self.users, 1)), axis=1)[:, : self.interests]
        drawn_UT = np.take_along_axis(own_UN, rng.integers(0, self.interests, shape_UT), axis=1)
        moves_UT = rng.random(shape_UT) >= self.stays
        moves_UT[:, 0] = True
        since_UT = np.maximum.accumulate(np.where(moves_UT, np.arange(self.events), 0), axis=1)
        category_UT = np.take_along_axis(drawn_UT, since_UT, axis=1)
        copies = self.items // self.categories
        item_UT = category_UT + self.categories * rng.integers(0, copies, shape_UT)
        user, slot = np.indices(shape_UT).reshape(2, -1)
        return pd.DataFrame({"user": user, "item": item_UT.ravel(), "category": category_UT.ravel(), "time": slot * 60})

    def next_item(self, histories: Iterable[np.ndarray]) -> np.ndarray:
        """The true probabilities [U, V] of the next item, given the item ids of each history (at least one)."""
        p_UC = np.stack([self._next_category(np.asarray(history) % self.categories) for history in histories])
        return p_UC[:, self.category_V] / (self.items // self.categories)

    def _next_category(self, category_T: np.ndarray) -> np.ndarray:
        """The probability [C] of each category: of the seen ones exactly; the unseen ones share what is left."""
        seen = np.unique(category_T)
        unseen = (self.interests - len(seen)) / self.interests / max(self.categories - len(seen), 1)
        p_C = np.full(self.categories, (1 - self.stays) * unseen)
        p_C[seen] = (1 - self.stays) / self.interests
        p_C[category_T[-1]] += self.stays
        return p_C
