"""FuxiCTR's DIEN with the settings of the benchmarks, and what it is fed: one candidate per row.

It is the DIEN of the package's models for long histories, which has no auxiliary loss.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from fuxictr.features import FeatureMap
from model_zoo.LongCTR import DIEN
from torch.utils.data import DataLoader

from experiments.benchmark.setting import ATTENTION, DIM, TOWER, Columns, T


def build(sizes: Mapping[str, int], folder: str, seed: int = 0) -> Any:
    """The DIEN with AUGRU over fields of these table sizes; it keeps its checkpoint in `folder`."""
    torch.manual_seed(seed)
    features = FeatureMap("", folder)
    features.labels, features.default_emb_dim = ["label"], DIM
    for name, size in sizes.items():
        features.features[name] = {"type": "categorical", "source": "item", "vocab_size": size, "padding_idx": 0}
    return DIEN(
        features, embedding_dim=DIM, gru_type="AUGRU", attention_type="din_attention",
        attention_hidden_units=list(ATTENTION), attention_activation="ReLU", dnn_hidden_units=list(TOWER),
        batch_norm=False, learning_rate=1e-3, optimizer="adam", loss="binary_crossentropy", metrics=["AUC"],
        model_root=folder, verbose=0,
    )  # fmt: skip


def loader(sizes: Mapping[str, int], flat: Columns, label_N: np.ndarray, batch: int, shuffle: bool = False) -> Any:
    """Batches of (label, ids of each history and then its candidate, mask of the history) of all rows."""
    ids = {name: np.column_stack([flat[f"hist_{name}"], flat[name]]) for name in sizes}
    mask_NT = np.arange(T) < flat["length"][:, None]

    def made(index: list[int]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], torch.Tensor]:
        items = {name: torch.from_numpy(array[index].ravel()) for name, array in ids.items()}
        return {"label": torch.from_numpy(label_N[index])}, items, torch.from_numpy(mask_NT[index])

    return DataLoader(range(len(label_N)), batch, shuffle, collate_fn=made)
