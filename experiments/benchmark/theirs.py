"""The libraries' DIEN with the settings of the benchmarks, and what it is fed: one candidate per row.

JAX is not imported, so that the memory of a process is the library's own.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch.nn import functional as F

from experiments.benchmark.setting import ATTENTION, DIM, TOWER, Columns

Library = Literal["deepctr-torch", "torch-rechub"]
HISTORIES = ("hist_", "neg_hist_")


def build(library: Library, sizes: Mapping[str, int], slots: int, seed: int = 0, initial: str = "") -> torch.nn.Module:
    """The library's DIEN with AUGRU and alpha 1 over fields of these table sizes.

    Its parameters are drawn by the library, or read from `initial`, a file of `experiments.benchmark.initial`.
    """
    torch.manual_seed(seed)
    model = _deepctr_torch(sizes, slots, seed) if library == "deepctr-torch" else _torch_rechub(sizes)
    if initial:
        model.load_state_dict({name: torch.from_numpy(array) for name, array in np.load(initial).items()})
    return model


def _deepctr_torch(sizes: Mapping[str, int], slots: int, seed: int) -> torch.nn.Module:
    from deepctr_torch.inputs import SparseFeat, VarLenSparseFeat
    from deepctr_torch.models import DIEN

    fields = [SparseFeat(name, size, DIM) for name, size in sizes.items()]
    histories = [
        VarLenSparseFeat(SparseFeat(prefix + name, size, DIM, embedding_name=name), slots, length_name="length")
        for prefix in HISTORIES
        for name, size in sizes.items()
    ]
    return DIEN(
        [*fields, *histories], list(sizes), gru_type="AUGRU", use_negsampling=True, alpha=1.0,
        att_hidden_units=ATTENTION, dnn_hidden_units=TOWER, l2_reg_embedding=0, seed=seed,
    )  # fmt: skip


def _torch_rechub(sizes: Mapping[str, int]) -> torch.nn.Module:
    from torch_rechub.basic.features import DenseFeature, SequenceFeature, SparseFeature
    from torch_rechub.models.ranking import DIEN

    history, negative = (
        [SequenceFeature(p + n, s, DIM, "concat", shared_with=n, padding_idx=0) for n, s in sizes.items()]
        for p in HISTORIES
    )
    target = [SparseFeature(name, size, DIM, padding_idx=0) for name, size in sizes.items()]
    # It cannot be built without a feature beside the behaviours.
    return DIEN([DenseFeature("nothing")], history, negative, target, {"dims": list(TOWER)}, alpha=1.0)


def rows(columns: Columns) -> tuple[Columns, np.ndarray]:
    """The columns with each candidate as a row of its own that repeats the history, and label_N."""
    K = columns["label"].shape[1]
    flat = {
        name: np.repeat(a, K, axis=0) if name == "length" or name.startswith(HISTORIES) else a.reshape(-1)
        for name, a in columns.items()
    }
    label_N = flat.pop("label")
    return flat | {"nothing": np.zeros(len(label_N), np.float32)}, label_N


def inputs(model: torch.nn.Module, flat: Columns) -> Any:
    """The rows as the model takes them: a matrix in float32, or tensors by name."""
    if not hasattr(model, "feature_index"):
        return {name: torch.from_numpy(array) for name, array in flat.items() if name != "length"}
    matrix = [flat[name].reshape(len(flat["length"]), -1) for name in model.feature_index]
    return torch.from_numpy(np.concatenate(matrix, 1)).float()


def training(
    library: Library, model: torch.nn.Module, batches: Sequence[Columns], optimizers: Sequence[torch.optim.Optimizer]
) -> Callable[[], None]:
    """A function that makes one training step, as the library's own loop does; the rows are made beforehand."""
    fed = itertools.cycle([(inputs(model, x), torch.from_numpy(y)) for x, y in map(rows, batches)])

    def step() -> None:
        x, y = next(fed)
        if library == "deepctr-torch":
            loss = F.binary_cross_entropy(model(x)[:, 0], y, reduction="sum") + model.aux_loss.sum()
        else:
            probability_N, auxiliary = model(x)
            loss = F.binary_cross_entropy(probability_N, y) + auxiliary
        model.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()

    model.train()
    return step


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=1e-3)


def scoring(model: torch.nn.Module, requests: list[Columns]) -> Callable[[], None]:
    """A function that scores every request, each a history with its candidates; the rows are made beforehand."""
    prepared = [inputs(model, rows(columns)[0]) for columns in requests]
    model.eval()

    def call() -> None:
        with torch.no_grad():
            for x in prepared:
                model(x)

    return call
