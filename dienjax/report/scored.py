"""A run's model, scored once on a split: what everything that a page says about it is computed from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dienjax.data.split import StoreSplit
from dienjax.data.store import Store
from dienjax.report.measures import errors, probabilities
from dienjax.report.runs import run_names
from dienjax.training.evaluation import Scores, score_run
from dienjax.training.metrics import Task, log_losses
from dienjax.training.run import Run

BLOCK = 1 << 14
"""Rows of a split that are read at once."""


@dataclass(frozen=True)
class Scored:
    """A run on a split, with the logit of each of the M real candidates.

    Attributes:
      dataset: the split as the run reads it.
      metrics: what `dienjax.evaluate` gives.
      label_M: 0/1, or any number in a regression.
      user_M: the user's row in the store.
      row_M, column_M: the row of the dataset, and which of its candidates.
      length_M: how many events of the history the model sees.
    """

    run: Run
    store: Store
    split: str
    dataset: StoreSplit
    scores: Scores
    metrics: dict[str, float]
    logit_M: np.ndarray
    label_M: np.ndarray
    user_M: np.ndarray
    row_M: np.ndarray
    column_M: np.ndarray
    length_M: np.ndarray

    @classmethod
    def of(cls, run: Run, store: Store, split: str, dataset: StoreSplit, scores: Scores) -> "Scored":
        """A run with its scores of a split, as flat arrays."""
        mask_NK = scores.mask_NK
        row_M, column_M = np.nonzero(mask_NK)
        return cls(
            run, store, split, dataset, scores, scores.metrics(run.config.loss.task), scores.logit_NK[mask_NK],
            scores.label_NK[mask_NK], dataset.user_N[row_M], row_M, column_M, dataset.length_N[row_M],
        )  # fmt: skip

    @property
    def task(self) -> Task:
        return self.run.config.loss.task

    @property
    def prediction_M(self) -> np.ndarray:
        """The probability; in a regression the predicted number."""
        return self.logit_M.astype(np.float64) if self.task == "regression" else probabilities(self.logit_M)

    @property
    def error_M(self) -> np.ndarray:
        """The log loss of each candidate, in nats; in a regression the absolute error."""
        if self.task == "regression":
            return np.abs(errors(self.logit_M, self.label_M))
        return log_losses(self.logit_M, self.label_M)

    def candidate(self, field: str) -> np.ndarray:
        """The candidates' ids [M] of a field, or numbers of a dense one."""
        return self._candidates[field]

    @cached_property
    def _candidates(self) -> dict[str, np.ndarray]:
        parts = []
        for start in range(0, len(self.dataset.length_N), BLOCK):
            index_B = np.arange(start, min(start + BLOCK, len(self.dataset.length_N)))
            batch = self.dataset.rows(index_B, 1, 0)
            parts.append({name: value_BK[batch.mask_BK] for name, value_BK in batch.candidate.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def scored(run: Run, store: Store, split: str = "test") -> Scored:
    """A run's best checkpoint, scored on a split.

    Raises:
      ValueError: the store does not fit the run, is damaged, or has no such split.
    """
    dataset, scores = score_run(run, store, split)
    assert isinstance(dataset, StoreSplit)
    return Scored.of(run, store, split, dataset, scores)


def named(scored: Sequence[Scored]) -> dict[str, Scored]:
    """The same by the names of their runs, for several that may stand side by side.

    Raises:
      ValueError: they have not scored the same candidates, or not for the same task.
    """
    first = scored[0]
    for other in scored[1:]:
        for what, mine, theirs in (
            ("store", first.store.digest, other.store.digest),
            ("split", first.split, other.split),
            ("loss.task", first.task, other.task),
            *_draws(first, other),
        ):
            if mine != theirs:
                raise ValueError(
                    f"runs can be compared on the same candidates only: {first.run.path} has {what} {mine!r}, "
                    f"{other.run.path} has {theirs!r}; report on them one by one, or name a store and a split "
                    "whose candidates are stored"
                )
    return dict(zip(run_names([one.run.path for one in scored]), scored, strict=True))


def _draws(first: Scored, other: Scored) -> list[tuple[str, object, object]]:
    """What the negatives of a split without stored candidates depend on."""
    if first.dataset.shown is not None:
        return []
    a, b = first.run.config, other.run.config
    return [
        ("fit.seed", a.fit.seed, b.fit.seed),
        ("data.negatives", a.data.negatives, b.data.negatives),
        ("data.own", a.data.own, b.data.own),
    ]
