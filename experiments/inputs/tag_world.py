"""A generated world in which tags matter: an interest is in one tag, and an item has several.

There are so many items that a log shows each only a few times: of an id alone nothing can be learned. The one tag that
the items of a history share is what the user wants. At each event the interest may move to any tag.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class TagWorld:
    """The parameters of a world; the log and the true probabilities are functions of them alone.

    All users have `events` events. An item has 1 to `most` of the tags, and each of the items with the tag that is
    wanted is as probable as any other. The next event is of the same tag with probability `stays`, else of one drawn
    from all.
    """

    users: int = 4000
    events: int = 12
    tags: int = 12
    items: int = 10_000
    most: int = 2
    stays: float = 0.9
    seed: int = 0

    @property
    def has_VG(self) -> np.ndarray:
        """Whether each item has each tag: bool [V, G]."""
        rng = np.random.default_rng([self.seed, 0])
        rank_VG = rng.permuted(np.tile(np.arange(self.tags), (self.items, 1)), axis=1)
        return rank_VG < rng.integers(1, self.most + 1, (self.items, 1))

    @property
    def popularity_V(self) -> np.ndarray:
        """The probability of each item for a user of whom nothing is known."""
        return (self.has_VG / self.has_VG.sum(axis=0)).mean(axis=1)

    def log(self) -> pd.DataFrame:
        """The events of all users in order of user and time: integer columns user, item, time (seconds), lists tags."""
        rng = np.random.default_rng([self.seed, 1])
        shape_UT = (self.users, self.events)
        drawn_UT = rng.integers(0, self.tags, shape_UT)
        moves_UT = rng.random(shape_UT) >= self.stays
        moves_UT[:, 0] = True
        since_UT = np.maximum.accumulate(np.where(moves_UT, np.arange(self.events), 0), axis=1)
        tag = np.take_along_axis(drawn_UT, since_UT, axis=1).ravel()
        has_VG = self.has_VG
        tag_P, item_P = np.nonzero(has_VG.T)  # all pairs of a tag and an item that has it, by tag
        first_G, count_G = np.searchsorted(tag_P, np.arange(self.tags)), has_VG.sum(axis=0)
        item = item_P[first_G[tag] + rng.integers(0, count_G[tag])]
        user, slot = np.indices(shape_UT).reshape(2, -1)
        tags_V = [np.flatnonzero(has_G).tolist() for has_G in has_VG]
        return pd.DataFrame({"user": user, "item": item, "tags": [tags_V[v] for v in item], "time": slot * 60})

    def next_item(self, log: pd.DataFrame, seen: bool = True) -> np.ndarray:
        """The true probabilities [U, V] of each user's last item, given the events before and, if `seen`, all tags.

        No item is known by its id: without tags all histories are alike.

        log: events of users of this world, all with as many, in order of user and time.
        """
        item_UT = log["item"].to_numpy().reshape(log["user"].nunique(), -1)
        if not seen:
            return np.tile(self.popularity_V, (len(item_UT), 1))
        share_VG = self.has_VG / self.has_VG.sum(axis=0)
        belief_UG = np.full((len(item_UT), self.tags), 1 / self.tags)
        for item_U in item_UT[:, :-1].T:
            belief_UG *= share_VG[item_U]
            belief_UG /= belief_UG.sum(axis=1, keepdims=True)
            belief_UG = self.stays * belief_UG + (1 - self.stays) / self.tags
        return belief_UG @ share_VG.T
