"""The default data set: a generated world of drifting interests, whose best possible AUC is known exactly.

A user's interest is a Markov chain over categories that moves along a directed graph, and what was just left is slow to
come back. The events show the interest through noise. A bag of the history mixes old and new interests, so order and
recency decide how well the next item can be told. No download, and a ceiling to hold every model against.

Names: U histories (or users), T events of a history, V items, C categories.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

NO_EVENT = -1
"""Fills a padded history; item ids start at 0."""


@dataclass(frozen=True)
class DriftWorld:
    """The parameters of a world; the log and the true probabilities are functions of them alone.

    An event is, with probability 1 - noise, an item of the current interest (Zipf popularity inside the category), else
    an item of the global popularity. The interest then stays with probability `persistence`, else moves to one of
    `successors` categories. It starts in its stationary distribution and the number of events is uniform in
    events_min..events_max, independent of everything else: neither time nor length tells anything about the next item.
    """

    users: int = 4000
    events_min: int = 12
    events_max: int = 40
    categories: int = 24
    items: int = 480
    zipf: float = 1.0
    persistence: float = 0.6
    successors: int = 3
    noise: float = 0.1
    seed: int = 0

    def __post_init__(self):
        rules = [
            ("users", self.users >= 1, "at least 1"),
            ("events_min", 1 <= self.events_min <= self.events_max, f"between 1 and events_max = {self.events_max}"),
            ("categories", self.categories >= 2, "at least 2"),
            ("items", self.items >= self.categories, f"at least one per category, {self.categories}"),
            ("zipf", self.zipf >= 0, "at least 0 (0: all items alike)"),
            ("persistence", 0 <= self.persistence < 1, "in [0, 1)"),
            (
                "successors",
                1 <= self.successors < self.categories,
                f"between 1 and categories - 1 = {self.categories - 1}",
            ),
            ("noise", 0 <= self.noise <= 1, "in [0, 1]"),
        ]
        for name, holds, expected in rules:
            if not holds:
                raise ValueError(f"DriftWorld: {name} is {getattr(self, name)}, expected {expected}")

    @property
    def category_V(self) -> np.ndarray:
        """The category of each item: neighbouring ids share one, sizes differ by at most 1."""
        return np.arange(self.items) * self.categories // self.items

    @property
    def share_V(self) -> np.ndarray:
        """The popularity of each item inside its category; sums to 1 over each category."""
        first_C = np.searchsorted(self.category_V, np.arange(self.categories))
        weight_V = (np.arange(self.items) - first_C[self.category_V] + 1.0) ** -self.zipf
        return weight_V / np.bincount(self.category_V, weight_V)[self.category_V]

    @property
    def transition_CC(self) -> np.ndarray:
        """The probability that interest c (row) is followed by interest d (column) at the next event.

        The categories stand on a hidden ring, and each has its own few jumps forward of at most a third of it: no edge
        has its reverse while successors <= categories / 3, and it takes a full round to return. One jump is always a
        single step, so every category can be reached. The jumps of a category have weights 1, 1/2, 1/4, ...
        """
        rng = np.random.default_rng([self.seed, 0])
        ring_C = rng.permutation(self.categories)
        longest = max(self.successors, self.categories // 3)
        weight = 0.5 ** np.arange(self.successors)
        transition_CC = self.persistence * np.eye(self.categories)
        for place, c in enumerate(ring_C):
            jump = np.append(1, 2 + rng.choice(longest - 1, self.successors - 1, replace=False))
            target = ring_C[(place + rng.permutation(jump)) % self.categories]
            transition_CC[c, target] += (1 - self.persistence) * weight / weight.sum()
        return transition_CC

    @property
    def interest_C(self) -> np.ndarray:
        """The stationary distribution of the interest, which is also the prior of a user without a history."""
        # pi (P - 1) = 0 together with sum(pi) = 1: a full-rank least-squares system, as the chain is irreducible.
        system = np.vstack([self.transition_CC.T - np.eye(self.categories), np.ones(self.categories)])
        pi_C = np.linalg.lstsq(system, np.append(np.zeros(self.categories), 1.0), rcond=None)[0]
        return pi_C / pi_C.sum()

    @property
    def popularity_V(self) -> np.ndarray:
        """The global popularity of the items: how probable each is for a user of whom nothing is known."""
        return self.interest_C[self.category_V] * self.share_V

    def log(self) -> pd.DataFrame:
        """The events of all users: integer columns user, item, category, time (seconds), in order of time.

        No user has two events at the same time, so sorting by (user, time) restores the histories.
        """
        rng = np.random.default_rng([self.seed, 1])
        shape_UT = (self.users, self.events_max)
        length_U = rng.integers(self.events_min, self.events_max + 1, self.users)
        interest_UT = np.empty(shape_UT, int)
        cumulative_CC = self.transition_CC.cumsum(axis=1)
        interest_UT[:, 0] = rng.choice(self.categories, self.users, p=self.interest_C)
        for t in range(1, self.events_max):
            above_UC = rng.random((self.users, 1)) >= cumulative_CC[interest_UT[:, t - 1]]
            interest_UT[:, t] = np.minimum(above_UC.sum(axis=1), self.categories - 1)
        # The shares sum to 1 over each category, so their running sum passes c inside category c at c + [0, 1).
        own_UT = np.searchsorted(self.share_V.cumsum(), interest_UT + rng.random(shape_UT))
        first_C = np.searchsorted(self.category_V, np.arange(self.categories))
        last_C = np.searchsorted(self.category_V, np.arange(self.categories), side="right") - 1
        own_UT = np.clip(own_UT, first_C[interest_UT], last_C[interest_UT])  # against rounding at the borders
        any_UT = rng.choice(self.items, shape_UT, p=self.popularity_V)
        item_UT = np.where(rng.random(shape_UT) < self.noise, any_UT, own_UT)

        day = 86_400
        gap_UT = 1 + rng.exponential(day, shape_UT).astype(np.int64)
        time_UT = rng.integers(0, 180 * day, (self.users, 1)) + gap_UT.cumsum(axis=1)
        user, slot = np.nonzero(np.arange(self.events_max) < length_U[:, None])
        item = item_UT[user, slot]
        columns = {"user": user, "item": item, "category": self.category_V[item], "time": time_UT[user, slot]}
        return pd.DataFrame(columns).sort_values(["time", "user"], ignore_index=True)

    def next_interest(self, histories: np.ndarray | Iterable) -> np.ndarray:
        """The probabilities `[U, C]` of the interest behind the next event, given each history: the exact HMM filter.

        histories: item ids in order of time, as an array `[U, T]` padded with NO_EVENT, or one sequence per history.
        """
        item_UT = _padded(histories, self.items)
        transition_CC, popularity_V = self.transition_CC, self.popularity_V
        belief_UC = np.tile(self.interest_C, (len(item_UT), 1))
        for item_U in item_UT.T:
            row = np.flatnonzero(item_U != NO_EVENT)
            item = item_U[row]
            likelihood = np.repeat(self.noise * popularity_V[item, None], self.categories, axis=1)
            likelihood[np.arange(len(row)), self.category_V[item]] += (1 - self.noise) * self.share_V[item]
            posterior = belief_UC[row] * likelihood
            evidence = posterior.sum(axis=1, keepdims=True)
            if not evidence.all():
                which = row[np.flatnonzero(evidence[:, 0] == 0)[0]]
                raise ValueError(f"history {which} cannot occur in {self}: is it from another world?")
            belief_UC[row] = (posterior / evidence) @ transition_CC
        return belief_UC

    def next_item(self, histories: np.ndarray | Iterable) -> np.ndarray:
        """The true probabilities p_UV `[U, V]` of the next item given each history (as in `next_interest`)."""
        belief_UC = self.next_interest(histories)
        return (1 - self.noise) * belief_UC[:, self.category_V] * self.share_V + self.noise * self.popularity_V


def negative_mass(p_UV: np.ndarray, q_V: np.ndarray) -> np.ndarray:
    """The probabilities `[U, V]` of the sampled negative: N_u(c) = sum over p != c of P_u(p) q(c) / (1 - q(p)).

    The negative is drawn by q, the frequencies (or counts) of the items in the log, until it differs from the positive.
    """
    p_UV, q_V = np.asarray(p_UV, float), np.asarray(q_V, float)
    if p_UV.ndim != 2 or q_V.shape != p_UV.shape[1:] or not np.allclose(p_UV.sum(axis=1), 1):
        raise ValueError(f"p_UV {p_UV.shape} must be [U, V] with rows that sum to 1, and q_V {q_V.shape} must be [V]")
    if not (q_V >= 0).all() or np.count_nonzero(q_V) < 2:
        raise ValueError(
            "q_V must be frequencies of at least two different items: otherwise there is no negative to draw"
        )
    q_V = q_V / q_V.sum()
    positive_UV = p_UV / (1 - q_V)
    # A sum less one of its terms: the clip keeps rounding from making a tiny negative mass.
    return q_V * np.maximum(positive_UV.sum(axis=1, keepdims=True) - positive_UV, 0)


def optimal_score(p_UV: np.ndarray, q_V: np.ndarray) -> np.ndarray:
    """The Bayes-optimal score `[U, V]` of (history, candidate): the likelihood ratio P_u(c) / N_u(c).

    No scorer that sees history and candidate has a higher expected AUC (Neyman-Pearson). The score is infinite where a
    candidate can only be the positive, 0 where it can be neither.
    """
    negative_UV = negative_mass(p_UV, q_V)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(p_UV) > 0, p_UV / negative_UV, 0.0)


def expected_auc(score_UV: np.ndarray, p_UV: np.ndarray, q_V: np.ndarray) -> float:
    """The exact expected AUC of any scorer over these histories; nothing is sampled, ties count one half.

    It is the probability that the positive of a history scores above the negative of a history, both histories drawn
    independently from the rows; a realised AUC over U pairs differs in expectation by at most 1 / U.
    """
    negative_UV = negative_mass(p_UV, q_V)
    if np.shape(score_UV) != negative_UV.shape or not negative_UV.size or np.isnan(score_UV).any():
        raise ValueError(
            f"score_UV {np.shape(score_UV)} must have the shape of p_UV, {negative_UV.shape}, "
            "at least one row and no NaN"
        )
    score = np.ravel(score_UV)
    order = np.argsort(score)
    score = score[order]
    start = np.flatnonzero(np.append(True, score[1:] != score[:-1]))
    positive = np.add.reduceat(np.ravel(p_UV)[order], start)
    negative = np.add.reduceat(negative_UV.ravel()[order], start)
    below = negative.cumsum() - negative / 2
    return float(positive @ below / (positive.sum() * negative.sum()))


def optimal_auc(p_UV: np.ndarray, q_V: np.ndarray) -> float:
    """The highest expected AUC that any scorer can have over these histories."""
    return expected_auc(optimal_score(p_UV, q_V), p_UV, q_V)


def _padded(histories: np.ndarray | Iterable, items: int) -> np.ndarray:
    """The histories as one int array `[U, T]`, padded with NO_EVENT; ValueError for an id that the world lacks."""
    if isinstance(histories, np.ndarray) and histories.ndim == 2:
        item_UT = histories
    else:
        rows = [np.asarray(history) for history in histories]
        if any(row.ndim != 1 or (row.size and row.dtype.kind not in "iu") for row in rows):
            raise ValueError("histories must be an array [U, T] or one sequence of integer item ids per history")
        item_UT = np.full((len(rows), max(map(len, rows), default=0)), NO_EVENT)
        for u, row in enumerate(rows):
            item_UT[u, : len(row)] = row
    if item_UT.size and not (item_UT.dtype.kind in "iu" and item_UT.min() >= NO_EVENT and item_UT.max() < items):
        raise ValueError(
            f"histories: got {item_UT.dtype} ids {item_UT.min()}..{item_UT.max()}, expected the integers of the log, "
            f"0..{items - 1}, and {NO_EVENT} for padding; map the ids of a vocabulary back first"
        )
    return item_UT
