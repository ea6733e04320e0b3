"""95 % intervals by the bootstrap over users: whole users are drawn anew, as the rows of one are not independent.

Percentile intervals (Efron and Tibshirani 1993, chapter 13). A user drawn twice counts as two users, so a replicate is
a weight per user, and no row is copied. Letters: R replicates, U users of the split, G groups of rows, P pairs of a
group and one of its users.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from dienjax.report.section import Interval
from dienjax.training.metrics import AucByGroup

REPLICATES = 200
MOST_UNDEFINED = 0.05
"""The share of replicates without a value beyond which the ends of a 95 % interval are not known."""

Key = TypeVar("Key")


class Statistic(Protocol):
    """A number for each group of rows, as a function of the users' weights."""

    def __call__(self, weight_U: np.ndarray) -> np.ndarray:
        """The value [G]; NaN where it is not defined."""


@dataclass(frozen=True)
class Sampled:
    """A statistic of the data, and of each replicate; NaN where it is not defined."""

    value_G: np.ndarray
    replicate_RG: np.ndarray

    def __sub__(self, other: "Sampled") -> "Sampled":
        """The paired difference: both have the same users in each replicate."""
        return Sampled(self.value_G - other.value_G, self.replicate_RG - other.replicate_RG)

    def intervals(self) -> list[Interval]:
        """A value and its interval for each group; no ends where more than 5 % of the replicates have no value."""
        return [
            _interval(value, replicate_R)
            for value, replicate_R in zip(self.value_G.tolist(), self.replicate_RG.T, strict=True)
        ]

    def interval(self) -> Interval:
        """That of the only group."""
        (found,) = self.intervals()
        return found


@dataclass(frozen=True)
class Bootstrap:
    """Users drawn with replacement, the same ones for everything that is measured with it.

    Attributes:
      user_M: the user of each row, of which there are `users`, numbered from 0.
    """

    user_M: np.ndarray
    users: int
    replicates: int = REPLICATES
    seed: int = 0

    @classmethod
    def of(cls, user_M: np.ndarray, replicates: int = REPLICATES, seed: int = 0) -> "Bootstrap":
        """The bootstrap over the users of some rows, whatever numbers these have."""
        present_U, index_M = np.unique(user_M, return_inverse=True)
        return cls(index_M, len(present_U), replicates, seed)

    def weights(self) -> Iterator[np.ndarray]:
        """How often each user is drawn [U], for each replicate; multinomial counts."""
        rng = np.random.default_rng(self.seed)
        for _ in range(self.replicates):
            drawn_U = rng.integers(self.users, size=self.users)
            yield np.bincount(drawn_U, minlength=self.users).astype(np.float64)

    def sampled(self, statistics: Mapping[Key, Statistic]) -> dict[Key, Sampled]:
        """Each statistic with all users once, and of each replicate; a single user gives no replicate a value."""
        values = [statistic(np.ones(self.users)) for statistic in statistics.values()]
        replicates: list[list[np.ndarray]] = [[] for _ in values]
        for weight_U in self.weights() if self.users > 1 else ():
            for of_one, statistic in zip(replicates, statistics.values(), strict=True):
                of_one.append(statistic(weight_U))
        return {
            key: Sampled(value_G, np.array(of_one) if of_one else np.full((1, len(value_G)), np.nan))
            for key, value_G, of_one in zip(statistics, values, replicates, strict=True)
        }


class Auc:
    """The AUC of each group of rows, ties counting 1/2."""

    def __init__(
        self, score_M: np.ndarray, label_M: np.ndarray, user_M: np.ndarray, group_M: np.ndarray | None = None
    ) -> None:
        self.auc = AucByGroup(score_M, label_M > 0, one_group(label_M, group_M))
        self.user_P, self.user_Q = user_M[self.auc.positive_P], user_M[self.auc.negative_Q]

    def __call__(self, weight_U: np.ndarray) -> np.ndarray:
        return self.auc(weight_U.take(self.user_P), weight_U.take(self.user_Q))[0]


class Ratio:
    """The sum of a numerator over that of a denominator, over the rows of each group: a mean, if that is 1."""

    def __init__(
        self,
        numerator_M: np.ndarray,
        denominator_M: np.ndarray,
        user_M: np.ndarray,
        group_M: np.ndarray | None = None,
        root: bool = False,
    ) -> None:
        group_M, users = one_group(user_M, group_M), int(user_M.max(initial=-1)) + 1
        pair_P, pair_M = np.unique(group_M.astype(np.int64) * users + user_M, return_inverse=True)
        self.user_P, group_P = pair_P % users, pair_P // users
        self.first_G = np.flatnonzero(np.diff(group_P, prepend=-1))
        self.numerator_P = np.bincount(pair_M, numerator_M)
        self.denominator_P = np.bincount(pair_M, denominator_M)
        self.root = root

    def __call__(self, weight_U: np.ndarray) -> np.ndarray:
        weight_P = weight_U.take(self.user_P)
        numerator_G = np.add.reduceat(weight_P * self.numerator_P, self.first_G)
        denominator_G = np.add.reduceat(weight_P * self.denominator_P, self.first_G)
        ratio_G = np.full(len(numerator_G), np.nan)
        np.divide(numerator_G, denominator_G, out=ratio_G, where=denominator_G > 0)
        return np.sqrt(ratio_G) if self.root else ratio_G


def one_group(like_M: np.ndarray, group_M: np.ndarray | None) -> np.ndarray:
    """The group of each row: the given one, or 0 for all."""
    return np.zeros(len(like_M), np.int8) if group_M is None else group_M


def _interval(value: float, replicate_R: np.ndarray) -> Interval:
    if not np.isfinite(value):
        return Interval(None, None, None)
    undefined = np.isnan(replicate_R)
    if undefined.mean() > MOST_UNDEFINED:
        return Interval(value, None, None)
    low, high = np.quantile(replicate_R[~undefined], (0.025, 0.975))
    return Interval(value, float(low), float(high))
