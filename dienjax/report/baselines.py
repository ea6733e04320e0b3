"""Rankings of the candidates that need no learning, which a model has to surpass."""

import numpy as np

from dienjax.data.mapped import in_blocks
from dienjax.data.store import Store
from dienjax.report.scored import Scored
from dienjax.schema import PADDING, UNKNOWN

COMPARISONS = 1 << 22
"""Candidates × history slots that are compared at once."""


def baselines(scored: Scored) -> dict[str, np.ndarray]:
    """The score [M] of each ranking, by what it ranks by."""
    schema = scored.store.schema
    fields = [b.name for b in schema.behaviours[1:] if not b.time] or [schema.item]
    return {
        "popularity of the item": popularity(scored.store, scored.candidate(schema.item)),
        **{f"{name}'s share of history": share for name, share in shares_of_history(scored, fields).items()},
    }


def popularity(store: Store, item_M: np.ndarray) -> np.ndarray:
    """How many of the events that training knows are of each item; 0 where the item is unknown."""
    item_E, count_V = store.events[store.schema.item], np.zeros(store.schema.sizes()[store.schema.item], np.int64)
    for _, row_E in in_blocks(store.train_row):
        count_V += np.bincount(item_E[row_E], minlength=len(count_V))
    count_V[UNKNOWN] = 0
    return count_V[item_M]


def shares_of_history(scored: Scored, fields: list[str]) -> dict[str, np.ndarray]:
    """The share of the history, as the model sees it, that has the candidate's value in a field; 0 if it is empty.

    Of sets, the share that has one of the candidate's values.
    """
    dataset = scored.dataset
    N, T = len(dataset.length_N), max(1, int(dataset.length_N.max(initial=0)))
    most = max(max(1, b.most) for b in scored.store.schema.behaviours)
    block = max(1, COMPARISONS // (T * scored.scores.mask_NK.shape[1] * most**2))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in fields}
    for start in range(0, N, block):
        batch = dataset.rows(np.arange(start, min(start + block, N)), T, 0)
        length_B1 = np.maximum(batch.mask_BT.sum(axis=1), 1)[:, None]
        for name, part in parts.items():
            same_BKT = _share_an_id(batch.candidate[name], batch.history[name])
            part.append((same_BKT.sum(axis=2) / length_B1)[batch.mask_BK])
    return {name: np.concatenate(part) for name, part in parts.items()}


def _share_an_id(id_BK: np.ndarray, id_BT: np.ndarray) -> np.ndarray:
    """A mask [B, K, T] of candidates and events that have the same id, [B, K] and [B, T], or sets [..., M] with one."""
    id_BKM, id_BTM = (np.reshape(ids, (*ids.shape[:2], -1)) for ids in (id_BK, id_BT))
    same_BKTMM = (id_BKM[:, :, None, :, None] == id_BTM[:, None, :, None]) & (id_BTM != PADDING)[:, None, :, None]
    return same_BKTMM.any(axis=(3, 4))
