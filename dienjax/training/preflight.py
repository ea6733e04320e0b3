"""Checks of the data before training writes anything, and of each batch for what cannot be seen before."""

import numpy as np

from dienjax.batch import Batch
from dienjax.data.arrays import PaddedArrays
from dienjax.data.loader import Dataset, Loader
from dienjax.data.split import StoreSplit
from dienjax.data.store import Store
from dienjax.training.config import Config
from dienjax.training.metrics import Task

FAR_LARGER = 5
"""A training split with this many times the samples is worth a hint."""


def check_data(config: Config, train: Loader, valid: Loader | None) -> None:
    """Refuse data that this config cannot train on.

    Raises:
      ValueError: the auxiliary loss has no negatives, or a label of a binary task is not 0 or 1.
    """
    if config.auxiliary and train.dataset.rows(np.arange(1), train.lengths[-1], 0).negative is None:
        columns = ", ".join(f"neg_hist_{f.name}" for f in train.dataset.schema.event_fields)
        raise ValueError(
            f"fit: the training data has no negative histories, but the auxiliary loss of {config.model.name} needs "
            f"them: give the columns {columns}, or set loss.alpha=0 to train without that loss"
        )
    if config.loss.task == "binary":
        for name, loader in (("training", train), ("validation", valid)):
            label = None if loader is None else _labels(loader.dataset)
            if label is not None and (bad := _soft(label)).any():
                raise _not_binary(label[bad][0], f"row {np.argwhere(bad)[0][0]} of the {name} data")


def check_labels(batch: Batch, index_B: np.ndarray, task: Task) -> None:
    """Raise ValueError for a label that the losses cannot take; labels of the history may be soft."""
    if task == "binary" and (bad := _soft(batch.label_BK) & batch.mask_BK).any():
        raise _not_binary(batch.label_BK[bad][0], f"sample {index_B[np.argwhere(bad)[0][0]]}")
    if (label := batch.hist_label_BT) is not None and (bad := (label < 0) | (label > 1)).any():
        raise ValueError(
            f"fit: hist_label holds {label[bad][0]} in sample {index_B[np.argwhere(bad)[0][0]]}; expected 0 to 1 "
            "(1: a positive signal): convert it"
        )


def larger_split(store: Store, train: str) -> str:
    """A hint that another training split has far more samples than `train`; empty if none has."""
    samples: dict[str, int] = store.info["samples"]
    most = max((name for name in samples if name.startswith("train")), key=samples.__getitem__, default=train)
    if samples[most] < FAR_LARGER * samples[train]:
        return ""
    return (
        f'data.train="{train}" has {samples[train]:,} samples where "{most}" has {samples[most]:,}; '
        f"--set data.train={most} trains on these"
    )


def _labels(dataset: Dataset) -> np.ndarray | None:
    """All labels, if they can be had without drawing every batch; else None."""
    if isinstance(dataset, PaddedArrays):
        return np.where(dataset.mask_NK, dataset.label_NK, 0)
    if isinstance(dataset, StoreSplit) and dataset.shown is not None:
        return dataset.shown.label_C
    return None


def _soft(label: np.ndarray) -> np.ndarray:
    return (label != 0) & (label != 1)


def _not_binary(value: float, where: str) -> ValueError:
    return ValueError(
        f"fit: label holds {value} in {where}; expected 0 or 1 (1: clicked): round it, "
        'or set loss.task="regression" for a numeric label'
    )
