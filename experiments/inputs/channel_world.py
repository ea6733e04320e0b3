"""A generated world in which the kind of an event matters: what was bought last is not wanted until the next purchase.

A user has N of C interests for life. An event is an item of any of them but the one that was bought last, each as
probable, and is a purchase with probability `buys`, else a click. Who does not know which events were purchases knows
the interests, but not which one rests.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

CLICK, PURCHASE = "click", "purchase"


@dataclass(frozen=True)
class ChannelWorld:
    """The parameters of a world; the log and the true probabilities are functions of them alone.

    All users have `events` events. `items` is a multiple of `categories`, each of which has as many, equally popular.
    """

    users: int = 4000
    events: int = 12
    categories: int = 6
    items: int = 120
    interests: int = 2
    buys: float = 0.5
    seed: int = 0

    @property
    def category_V(self) -> np.ndarray:
        """The category of each item."""
        return np.arange(self.items) % self.categories

    def log(self) -> pd.DataFrame:
        """The events of all users in order of user and time: columns user, item, category, type and time (seconds)."""
        rng = np.random.default_rng(self.seed)
        shape_UT = (self.users, self.events)
        own_UN = rng.permuted(np.tile(np.arange(self.categories), (self.users, 1)), axis=1)[:, : self.interests]
        buys_UT = rng.random(shape_UT) < self.buys
        rests_U = np.full(self.users, self.interests)  # none of the N yet
        chosen_UT = np.empty(shape_UT, int)
        for t in range(self.events):
            wanted_UN = np.arange(self.interests) != rests_U[:, None]
            chosen_UT[:, t] = np.where(wanted_UN, rng.random(wanted_UN.shape), -1).argmax(axis=1)
            rests_U = np.where(buys_UT[:, t], chosen_UT[:, t], rests_U)
        category = np.take_along_axis(own_UN, chosen_UT, axis=1).ravel()
        item = category + self.categories * rng.integers(0, self.items // self.categories, category.shape)
        user, slot = np.indices(shape_UT).reshape(2, -1)
        kind = np.where(buys_UT.ravel(), PURCHASE, CLICK)
        return pd.DataFrame({"user": user, "item": item, "category": category, "type": kind, "time": slot * 60})

    def next_item(self, log: pd.DataFrame, seen: bool = True) -> np.ndarray:
        """The true probabilities [U, V] of each user's last item, given the events before and, if `seen`, their types.

        log: events of users of this world, all with as many, in order of user and time.
        """
        users = log["user"].nunique()
        category_UT = self.category_V[log["item"].to_numpy()].reshape(users, -1)
        bought_UT = (log["type"] == PURCHASE).to_numpy(float).reshape(users, -1)
        met_UC = np.zeros((users, self.categories), bool)
        rests_UR = np.tile(np.append(np.zeros(self.categories), 1.0), (users, 1))  # R: a category, or none
        row = np.arange(users)
        for t in range(category_UT.shape[1] - 1):
            category_U = category_UT[:, t]
            rests_UR *= self._next(met_UC)[row, :, category_U]
            rests_UR /= rests_UR.sum(axis=1, keepdims=True)
            bought_U = bought_UT[:, t] if seen else np.full(users, self.buys)
            rests_UR *= 1 - bought_U[:, None]
            rests_UR[row, category_U] += bought_U
            met_UC[row, category_U] = True
        p_UC = np.einsum("ur,urc->uc", rests_UR, self._next(met_UC))
        return p_UC[:, self.category_V] / (self.items // self.categories)

    def _next(self, met_UC: np.ndarray) -> np.ndarray:
        """The probability [U, R, C] of each category given which one rests, one of those met, or none.

        Those met are known to be interests; the other interests are any of the other categories.
        """
        rest_RC = np.eye(self.categories + 1, self.categories, dtype=bool)
        wanted_R1 = self.interests - rest_RC.any(axis=1, keepdims=True)
        met_U1 = met_UC.sum(axis=1, keepdims=True)
        share_UC = np.where(met_UC, 1.0, (self.interests - met_U1) / np.maximum(self.categories - met_U1, 1))
        return np.where(rest_RC, 0, share_UC[:, None] / wanted_R1)
