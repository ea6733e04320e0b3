"""The true interests of a generated world's users, and how well a model's probabilities follow them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dienjax.data.drift import DriftWorld, optimal_score
from dienjax.data.store import Store
from dienjax.report.baselines import popularity
from dienjax.report.cases import Cases
from dienjax.report.scored import Scored
from dienjax.schema import FIRST_ID


@dataclass(frozen=True)
class Truth:
    """A generated world, which knows the interests behind its log."""

    world: DriftWorld

    def interests(self, item_T: np.ndarray) -> np.ndarray:
        """How probable each interest is behind the next event, [T + 1, C]: before a history and after each event.

        It is the exact filter: nobody who sees the events alone can know more.

        Args:
          item_T: the items of a history as they stand in the log, oldest first.
        """
        return self.world.next_interest([item_T[:t] for t in range(len(item_T) + 1)])

    def category(self, item_X: np.ndarray) -> np.ndarray:
        """The interest that each item belongs to."""
        return self.world.category_V[item_X]


@dataclass(frozen=True)
class Interests:
    """The truth about the explorer's cases; NaN and -1 where it is not known, as an item has no raw value.

    Attributes:
      interest_UPC: how probable each interest is before the first event shown, and after each.
      category_UT: what the events belong to.
      category_UK: what the candidates belong to.
    """

    interest_UPC: np.ndarray
    category_UT: np.ndarray
    category_UK: np.ndarray

    @property
    def candidate_UKP(self) -> np.ndarray:
        """How probable the interest is that each candidate belongs to."""
        index_UPK = np.maximum(self.category_UK, 0)[:, None].repeat(self.interest_UPC.shape[1], axis=1)
        found_UPK = np.take_along_axis(self.interest_UPC, index_UPK, axis=2)
        return np.where(self.category_UK[:, :, None] < 0, np.nan, found_UPK.transpose(0, 2, 1))


def interests_of(truth: Truth, store: Store, cases: Cases) -> Interests:
    """What a world knows about cases from a store of its log; all events before a sample count, shown or not."""
    item, raw_V = store.schema.item, _raw_items(store)

    def category(id_X: np.ndarray, mask_X: np.ndarray) -> np.ndarray:
        return np.where(mask_X & (id_X >= FIRST_ID), truth.category(raw_V[id_X]), -1)

    U, T = cases.mask_UT.shape
    interest_UPC = np.full((U, T + 1, truth.world.categories), np.nan)
    for u, (user, end, length) in enumerate(zip(cases.user_U, cases.end_U, cases.length_U, strict=True)):
        id_T = store.events[item][store.offsets[user] : end]
        if (id_T >= FIRST_ID).all():
            interest_UPC[u, : length + 1] = truth.interests(raw_V[id_T])[len(id_T) - length :]
    return Interests(
        interest_UPC,
        category(np.take(store.events[item], cases.event_UT), cases.mask_UT),
        category(cases.candidate[item], cases.mask_UK),
    )


def best_ranking(truth: Truth, scored: Scored) -> dict[str, np.ndarray]:
    """The score [M] that no one who sees the histories can rank better by, see `optimal_score`, by what it ranks by.

    There is none where candidates were not drawn by popularity, or where an item has no raw value.
    """
    store, dataset = scored.store, scored.dataset
    item_E, raw_V = store.events[store.schema.item], _raw_items(store)
    drawn = store.info["protocol"] in ("last", "all")
    by_popularity = dataset.shown is not None or scored.run.config.data.negatives == "popularity"
    if not (drawn and by_popularity and (item_E >= FIRST_ID).all()):
        return {}
    ends = zip(store.offsets[dataset.user_N], dataset.end_N, strict=True)
    count_W = np.bincount(raw_V, popularity(store, np.arange(len(raw_V))), truth.world.items)
    score_NW = optimal_score(truth.world.next_item([raw_V[item_E[start:end]] for start, end in ends]), count_W)
    return {"the true interests": score_NW[scored.row_M, raw_V[scored.candidate(store.schema.item)]]}


def _raw_items(store: Store) -> np.ndarray:
    """The items as they stand in the log, by id; 0 for padding and unknown."""
    values = store.vocabulary(store.schema.behaviours[0].table)
    raw_V = np.zeros(FIRST_ID + len(values), np.int64)
    raw_V[values["id"]] = values["value"]
    return raw_V


def following(probability_UKP: np.ndarray, interest_UKP: np.ndarray) -> float | None:
    """How well probabilities follow the true interest as the histories grow: a mean of rank correlations.

    Spearman's, for each candidate: of its probabilities before and after each event, with those of the interest that it
    belongs to. 1: both always rise and fall together. A candidate counts if it has at least 3 of both, neither of them
    constant; None if none has. NaN stands for what is not there.
    """
    found = []
    for both_P2 in np.stack([probability_UKP, interest_UKP], axis=-1).reshape(-1, probability_UKP.shape[-1], 2):
        ranks = pd.DataFrame(both_P2).dropna().rank()
        if len(ranks) >= 3 and (ranks.nunique() > 1).all():
            found.append(np.corrcoef(ranks, rowvar=False)[0, 1])
    return float(np.mean(found)) if found else None
