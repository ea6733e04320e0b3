"""What all benchmarks of models have in common: the sizes of the DIEN, and random histories as plain arrays.

Columns are arrays by name: for each field f a history `hist_f` and its sampled negatives `neg_hist_f`, [B, T],
padded on the right, candidates `f`, [B, K]; and `length` [B] and `label` [B, K].
"""

from collections.abc import Mapping

import numpy as np

DIM, STATE, ATTENTION, TOWER, T = 18, 36, (80, 40), (200, 80), 50
SIZES = {"item": 20_000, "category": 1_000}
"""Rows of the tables of random histories: about those of Amazon Sports."""

LIBRARIES = {"deepctr-torch": "torch", "torch-rechub": "torch"}
"""What dienjax is compared with, and the extra that installs it."""
PACKAGES = ("dienjax", "jax", "jaxlib", "flax", "optax", "numpy", "torch", "deepctr-torch", "torch-rechub")

Columns = dict[str, np.ndarray]


def drawn(
    sizes: Mapping[str, int],
    length_B: np.ndarray,
    slots: int,
    K: int,
    rng: np.random.Generator,
    item_V: np.ndarray | None = None,
) -> Columns:
    """Histories of these lengths in `slots` slots, with K candidates, the first of them labelled 1.

    Ids are uniform over each table; those of the item over `item_V`, if given.
    """
    mask_BT = np.arange(slots) < length_B[:, None]
    columns = {"length": length_B.astype(np.int32), "label": np.zeros((len(length_B), K), np.float32)}
    columns["label"][:, 0] = 1
    for name, size in sizes.items():
        pool_V = item_V if name == "item" and item_V is not None else None
        for prefix, shape in (("hist_", mask_BT.shape), ("neg_hist_", mask_BT.shape), ("", (len(length_B), K))):
            ids = rng.integers(2, size, shape) if pool_V is None else rng.choice(pool_V, shape)
            columns[prefix + name] = (np.where(mask_BT, ids, 0) if prefix else ids).astype(np.int32)
    return columns


def full(B: int, slots: int = T, K: int = 2, seed: int = 0) -> Columns:
    """B random histories without padding, of tables of `SIZES`."""
    return drawn(SIZES, np.full(B, slots), slots, K, np.random.default_rng(seed))
