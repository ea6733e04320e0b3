"""A generated world in which time matters: how far an interest has moved on is told by the gap since it was shown.

An interest goes round a ring of categories. An event is an item of the current interest, or with probability `noise`
any item. The next event comes minutes, days or months later, each as probable: meanwhile the interest stays, moves one
step on, or two. Who does not see the times cannot tell which.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

MINUTE, DAY = 60, 86_400


@dataclass(frozen=True)
class GapWorld:
    """The parameters of a world; the log and the true probabilities are functions of them alone.

    All users have `events` events. `spans` are the shortest and the longest gap, in seconds, after which the interest
    has moved no step, one step, and so on; they do not overlap. `items` is a multiple of `categories`, each of which
    has as many, equally popular.
    """

    users: int = 4000
    events: int = 12
    categories: int = 8
    items: int = 160
    spans: tuple[tuple[int, int], ...] = ((MINUTE, 60 * MINUTE), (DAY, 7 * DAY), (30 * DAY, 120 * DAY))
    noise: float = 0.05
    seed: int = 0

    @property
    def category_V(self) -> np.ndarray:
        """The category of each item."""
        return np.arange(self.items) % self.categories

    @property
    def ring_C(self) -> np.ndarray:
        """The category at each place of the ring, which no id tells."""
        return np.random.default_rng([self.seed, 0]).permutation(self.categories)

    def log(self) -> pd.DataFrame:
        """The events of all users: integer columns user, item, category, time (seconds), in order of user and time."""
        rng = np.random.default_rng([self.seed, 1])
        shape_UT = (self.users, self.events)
        step_UT = rng.integers(0, len(self.spans), shape_UT)
        low_UT, high_UT = np.log(np.array(self.spans))[step_UT].transpose(2, 0, 1)
        gap_UT = np.exp(rng.uniform(low_UT, high_UT)).astype(np.int64)
        start_U1 = rng.integers(0, 360 * DAY, (self.users, 1))
        place_UT = (rng.integers(0, self.categories, (self.users, 1)) + step_UT.cumsum(axis=1)) % self.categories
        copies = self.items // self.categories
        own_UT = self.ring_C[place_UT] + self.categories * rng.integers(0, copies, shape_UT)
        item_UT = np.where(rng.random(shape_UT) < self.noise, rng.integers(0, self.items, shape_UT), own_UT)
        user, slot = np.indices(shape_UT).reshape(2, -1)
        item, time_UT = item_UT.ravel(), start_U1 + gap_UT.cumsum(axis=1)
        columns = {"user": user, "item": item, "category": self.category_V[item], "time": time_UT[user, slot]}
        return pd.DataFrame(columns)

    def next_item(self, log: pd.DataFrame, seen: bool = True) -> np.ndarray:
        """The true probabilities [U, V] of each user's last item, given the events before and, if `seen`, all times.

        log: events of users of this world, all with as many, in order of user and time.
        """
        users = log["user"].nunique()
        item_UT, time_UT = (log[name].to_numpy().reshape(users, -1) for name in ("item", "time"))
        place_V = np.argsort(self.ring_C)[self.category_V]
        steps = np.arange(len(self.spans))
        step_UT = np.searchsorted([longest for _, longest in self.spans], np.diff(time_UT))
        belief_UC = np.full((users, self.categories), 1 / self.categories)
        for t in range(item_UT.shape[1] - 1):
            shows_UC = np.arange(self.categories) == place_V[item_UT[:, t], None]
            belief_UC *= (1 - self.noise) * shows_UC + self.noise / self.categories
            belief_UC /= belief_UC.sum(axis=1, keepdims=True)
            moved_US = (step_UT[:, t, None] == steps) if seen else np.full((users, len(steps)), 1 / len(steps))
            belief_UC = sum(moved_US[:, [s]] * np.roll(belief_UC, s, axis=1) for s in steps)
        copies = self.items // self.categories
        return (1 - self.noise) * belief_UC[:, place_V] / copies + self.noise / self.items
