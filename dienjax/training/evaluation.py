"""Logits of a trained model over a whole data set, in its order, and their exact metrics."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from dienjax.batch import Batch
from dienjax.data.loader import Dataset, Loader
from dienjax.data.split import StoreSplit
from dienjax.data.store import Store
from dienjax.training import processes
from dienjax.training.config import Config
from dienjax.training.layout import Layout, here
from dienjax.training.metrics import Task, evaluate_scores
from dienjax.training.placed import eval_step, placed
from dienjax.training.run import Run

EvalStep = Callable[[dict[str, Any], Batch], jax.Array]


@dataclasses.dataclass(frozen=True)
class Scores:
    """Logits of N samples with K candidates each; padded candidates are False in the mask."""

    logit_NK: np.ndarray
    label_NK: np.ndarray
    mask_NK: np.ndarray
    user_N: np.ndarray

    def metrics(self, task: Task = "binary") -> dict[str, float]:
        """AUC, GAUC, log loss and calibration (binary) or RMSE and MAE (regression) over the real candidates."""
        mask_NK = self.mask_NK
        user_NK = np.broadcast_to(self.user_N[:, None], mask_NK.shape)
        return evaluate_scores(self.logit_NK[mask_NK], self.label_NK[mask_NK], user_NK[mask_NK], task)


def score(
    step: EvalStep,
    variables: dict[str, Any],
    loader: Loader,
    between: Callable[[], None] = lambda: None,
    layout: Layout | None = None,
) -> Scores:
    """The scores of every sample of a loader, shuffled or not, in the data set's order.

    `between` is called before each batch; an exception it raises ends the scoring. Several processes each score their
    share, and all of them get the scores of all.
    """

    def prepare(batch: Batch) -> tuple[Batch, Any]:
        shown = dataclasses.replace(batch, negative=None, hist_label_BT=None)
        return batch, placed(shown, layout, lazy=False) if layout and layout.elsewhere else shown

    pending = []
    for planned, (batch, shown) in loader.epoch(0, prepare=prepare):
        between()
        mine = loader.shared(planned)
        index_B = np.append(mine, np.full(loader.rows - len(mine), -1))
        pending.append((index_B, step(variables, shown), batch.label_BK, batch.mask_BK))
    index_M, logit_MK, label_MK, mask_MK = (
        processes.gathered(np.concatenate([here(entry[column]) for entry in pending])) for column in range(4)
    )
    order = np.argsort(index_M, kind="stable")[np.count_nonzero(index_M < 0) :]
    return Scores(logit_MK[order], label_MK[order], mask_MK[order], np.asarray(loader.dataset.user_N))


def eval_loader(
    dataset: Dataset, batch_size: int, lengths: int | tuple[int, ...], share: tuple[int, int] = (0, 1)
) -> Loader:
    return Loader(dataset, batch_size, lengths, shuffle=False, share=share)


def evaluate(run: Run | str, data: Store | Dataset, split: str = "test") -> dict[str, float]:
    """The metrics of a run's best checkpoint on a split of a store, or on any data set.

    A metric that is not defined, such as the AUC of a single class, is NaN.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    return score_run(run, data, split)[1].metrics(run.config.loss.task)


def score_run(run: Run, data: Store | Dataset, split: str) -> tuple[Dataset, Scores]:
    """The data set as the run reads it, and the scores of its best checkpoint there.

    Raises:
      ValueError: the data does not fit the run, or is damaged.
    """
    config = run.config
    run.check_schema(data.schema, f"the store {data.path}" if isinstance(data, Store) else "the data set")
    if isinstance(data, Store):
        data.verify()
    dataset: Dataset = data if not isinstance(data, Store) else store_split(config, data, split)
    loader = eval_loader(dataset, config.data.batch_size, config.data.lengths)
    layout = run.layout()
    return dataset, score(eval_step(run.model, layout), run.variables(layout), loader, layout=layout)


def store_split(config: Config, store: Store, split: str, auxiliary: bool = False) -> StoreSplit:
    """A split of a store as the config reads it; `auxiliary` adds a sampled negative to each behaviour."""
    data = config.data
    return StoreSplit(
        store, split, max_len=data.max_len, negatives=data.negatives, own=data.own, auxiliary=auxiliary,
        seed=config.fit.seed,
    )  # fmt: skip
