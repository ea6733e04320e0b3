"""Logits of a trained model over a whole data set, in its order, and their exact metrics."""

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from dienjax.batch import Batch
from dienjax.data.loader import Dataset, Loader
from dienjax.data.split import StoreSplit
from dienjax.data.store import Store
from dienjax.training.config import Config
from dienjax.training.metrics import Task, evaluate_scores
from dienjax.training.run import Run
from dienjax.training.step import make_eval_step

EvalStep = Callable[[dict[str, Any], Batch], jax.Array]


@lru_cache(maxsize=16)
def shared_eval_step(model: nn.Module) -> EvalStep:
    """The eval step of a model, the same for equal models: it compiles once for batches of one shape."""
    return make_eval_step(model)


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
    eval_step: EvalStep, variables: dict[str, Any], loader: Loader, between: Callable[[], None] = lambda: None
) -> Scores:
    """The scores of every sample of a loader, shuffled or not, in the data set's order.

    `between` is called before each batch; an exception it raises ends the scoring.
    """
    pending = []
    for planned, batch in loader.epoch(0):
        between()
        logit_BK = eval_step(variables, dataclasses.replace(batch, negative=None, hist_label_BT=None))
        pending.append((planned.index, logit_BK, batch.label_BK, batch.mask_BK))
    order = np.argsort(np.concatenate([index for index, *_ in pending]), kind="stable")

    def joined(column: int) -> np.ndarray:
        parts = [np.asarray(entry[column])[: len(entry[0])] for entry in pending]
        return np.concatenate(parts)[order]

    return Scores(joined(1), joined(2), joined(3), np.asarray(loader.dataset.user_N))


def eval_loader(dataset: Dataset, batch_size: int, lengths: int | tuple[int, ...]) -> Loader:
    return Loader(dataset, batch_size, lengths, shuffle=False)


def evaluate(run: Run | str, data: Store | Dataset, split: str = "test") -> dict[str, float]:
    """The metrics of a run's best checkpoint on a split of a store, or on any data set.

    A metric that is not defined, such as the AUC of a single class, is NaN.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    config = run.config
    run.check_schema(data.schema, f"the store {data.path}" if isinstance(data, Store) else "the data set")
    if isinstance(data, Store):
        data.verify()
    dataset: Dataset = data if not isinstance(data, Store) else store_split(config, data, split)
    loader = eval_loader(dataset, config.data.batch_size, config.data.lengths)
    return score(shared_eval_step(run.model), run.variables(), loader).metrics(config.loss.task)


def store_split(config: Config, store: Store, split: str, auxiliary: bool = False) -> StoreSplit:
    """A split of a store as the config reads it; `auxiliary` adds a sampled negative to each behaviour."""
    data = config.data
    return StoreSplit(
        store, split, max_len=data.max_len, negatives=data.negatives, own=data.own, auxiliary=auxiliary,
        seed=config.fit.seed,
    )  # fmt: skip
