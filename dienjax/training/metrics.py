"""The metrics of an evaluation: exact ones on the host, and a mergeable AUC histogram for the training loop.

A metric that the data does not define (the AUC of one class, any metric of no rows) is NaN, never a made-up number.
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

Task = Literal["binary", "regression"]

EDGE = 20.0
"""Logits beyond ± this share the histogram's outermost bins."""


def auc(score_N: np.ndarray, label_N: np.ndarray) -> float:
    """The probability that a positive scores above a negative, ties counting 1/2; NaN unless both classes occur.

    Raises:
      ValueError: arrays that do not match, a NaN score, a label other than 0 and 1.
    """
    score_N, label_N = _checked("auc", score_N, label_N)
    auc_G, _ = AucByGroup(score_N, label_N, np.zeros(len(score_N), np.int8))()
    return float(auc_G[0]) if len(auc_G) else math.nan


def gauc(score_N: np.ndarray, label_N: np.ndarray, user_N: np.ndarray) -> float:
    """The mean AUC of the users with both classes, weighted by their impressions; NaN if there are none.

    This is what the DIN paper calls AUC (eq. 10).

    Raises:
      ValueError: as `auc`.
    """
    score_N, label_N = _checked("gauc", score_N, label_N, user_N)
    auc_G, rows_G = AucByGroup(score_N, label_N, np.asarray(user_N))()
    defined_G = ~np.isnan(auc_G)
    return float(np.average(auc_G[defined_G], weights=rows_G[defined_G])) if defined_G.any() else math.nan


def logloss(logit_N: np.ndarray, label_N: np.ndarray) -> float:
    """The mean of -log p(label) in nats, from logits; NaN for no rows.

    Raises:
      ValueError: as `auc`.
    """
    logit_N, label_N = _checked("logloss", logit_N, label_N)
    return _mean(log_losses(logit_N, label_N))


def log_losses(logit_N: np.ndarray, label_N: np.ndarray) -> np.ndarray:
    """−log p(label) of each row, in nats."""
    logit_N = logit_N.astype(np.float64)
    return np.logaddexp(0.0, np.where(label_N > 0, -logit_N, logit_N))


def sigmoid(logit: np.ndarray) -> np.ndarray:
    """The probabilities of logits, in their dtype."""
    return np.exp(-np.logaddexp(0.0, -logit))


def calibration(logit_N: np.ndarray, label_N: np.ndarray) -> float:
    """The predicted number of positives over the observed number, 1 at best; NaN if none was observed.

    Raises:
      ValueError: as `auc`.
    """
    logit_N, label_N = _checked("calibration", logit_N, label_N)
    return float(sigmoid(logit_N).sum() / label_N.sum()) if label_N.any() else math.nan


def rmse(prediction_N: np.ndarray, target_N: np.ndarray) -> float:
    """The root mean squared error; NaN for no rows."""
    return math.sqrt(_mean(_error("rmse", prediction_N, target_N) ** 2))


def mae(prediction_N: np.ndarray, target_N: np.ndarray) -> float:
    """The mean absolute error; NaN for no rows."""
    return _mean(np.abs(_error("mae", prediction_N, target_N)))


def evaluate_scores(
    logit_N: np.ndarray, label_N: np.ndarray, user_N: np.ndarray, task: Task = "binary"
) -> dict[str, float]:
    """All metrics of a task by name; undefined ones are NaN.

    Binary: auc, gauc, logloss, calibration, rows, positives. Regression, where the logit is the prediction itself:
    rmse, mae, rows.

    Raises:
      ValueError: as `auc`, or an unknown task.
    """
    if task == "binary":
        return {
            "auc": auc(logit_N, label_N),
            "gauc": gauc(logit_N, label_N, user_N),
            "logloss": logloss(logit_N, label_N),
            "calibration": calibration(logit_N, label_N),
            "rows": len(label_N),
            "positives": int(np.sum(label_N)),
        }
    if task == "regression":
        return {"rmse": rmse(logit_N, label_N), "mae": mae(logit_N, label_N), "rows": len(label_N)}
    raise ValueError(f"evaluate_scores: task is {task!r}; expected 'binary' or 'regression'")


def to_json(metrics: dict[str, float]) -> dict[str, float | None]:
    """The same metrics with None for what is not finite, which JSON cannot hold."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def auc_histogram(logit_BK: jax.Array, label_BK: jax.Array, mask_BK: jax.Array, bins: int = 512) -> jax.Array:
    """Counts [2, bins] of the negatives (row 0) and positives (row 1) by logit; two histograms are merged by adding.

    Bins are equal steps of asinh(2 logit): fine around 0, where an untrained model's logits lie, and wide enough for
    rare clicks. On normal logits with mean -7 to 0 and standard deviation 0.2 to 10 the AUC is off by at most 0.001;
    with equal steps of the probability it was off by up to 0.14, with steps of the logit clipped at 8 by up to 0.02. A
    NaN logit is not counted.
    """
    unit_BK = jnp.arcsinh(2 * logit_BK.astype(jnp.float32)) / math.asinh(2 * EDGE)
    bin_BK = jnp.clip((unit_BK + 1) / 2 * bins, 0, bins - 1).astype(jnp.int32)
    counted_BK = mask_BK & ~jnp.isnan(logit_BK)
    row_BK = (label_BK > 0.5).astype(jnp.int32)
    return jnp.zeros((2, bins), jnp.int32).at[row_BK, bin_BK].add(counted_BK.astype(jnp.int32))


def auc_from_histogram(counts_2Q: np.ndarray) -> float:
    """The AUC of a histogram, two rows in one bin counting as a tie; NaN unless both classes occur."""
    negative_Q, positive_Q = np.asarray(counts_2Q, np.float64)
    pairs = negative_Q.sum() * positive_Q.sum()
    return float((positive_Q * (np.cumsum(negative_Q) - negative_Q / 2)).sum() / pairs) if pairs else math.nan


class AucByGroup:
    """The AUC of each of G groups of rows, for any weights of the P positives and Q negatives, which are sorted once.

    A positive wins against the negatives of its group that score lower, and half against those that score the same.

    Attributes:
      group_G: the groups, ascending.
      positive_P, negative_Q: the rows of either class, in the order in which their weights are given.
    """

    def __init__(self, score_N: np.ndarray, label_N: np.ndarray, group_N: np.ndarray) -> None:
        order_N = np.lexsort((score_N, group_N))
        score_N, label_N, group_N = score_N[order_N], label_N[order_N], group_N[order_N]
        first_N = np.ones(len(group_N), bool)
        first_N[1:] = group_N[1:] != group_N[:-1]
        level_N = first_N.copy()
        level_N[1:] |= score_N[1:] != score_N[:-1]
        start = np.append(np.flatnonzero(level_N), len(score_N))  # where each level of score starts
        before = np.append(0, np.cumsum(~label_N))  # how many negatives stand before each row
        level_P = (np.cumsum(level_N) - 1)[label_N]
        self.below_P, self.up_to_P = before[start[level_P]], before[start[level_P + 1]]
        self.positive_P, self.negative_Q = order_N[label_N], order_N[~label_N]
        self.group_G = group_N[first_N]
        first = np.append(np.flatnonzero(first_N), len(score_N))
        self.first_negative, self.first_positive = before[first], first - before[first]

    def __call__(
        self, weight_P: np.ndarray | None = None, weight_Q: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The AUC (NaN where undefined) and the weight of each group; without weights each row has weight 1."""
        negatives = _running(np.ones(len(self.negative_Q)) if weight_Q is None else weight_Q)
        weight_P = np.ones(len(self.positive_P)) if weight_P is None else weight_P
        before_G, negative_G = negatives[self.first_negative[:-1]], np.diff(negatives[self.first_negative])
        positive_G, won_G = (
            np.diff(_running(x_P)[self.first_positive])
            for x_P in (weight_P, weight_P * (negatives.take(self.below_P) + negatives.take(self.up_to_P)) / 2)
        )
        pairs_G, wins_G = positive_G * negative_G, won_G - positive_G * before_G
        return np.divide(wins_G, pairs_G, out=np.full(len(pairs_G), np.nan), where=pairs_G > 0), positive_G + negative_G


def _running(x_N: np.ndarray) -> np.ndarray:
    """The sums [N + 1] of what stands before each row; of counts and halves they are exact."""
    sums = np.zeros(len(x_N) + 1)
    np.cumsum(x_N, out=sums[1:])
    return sums


def _checked(where: str, score_N: np.ndarray, label_N: np.ndarray, *more: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The scores as float64 and the labels as bool, after checking them."""
    score_N, target_N = _matching(where, score_N, label_N, *more)
    wrong_N = (target_N != 0) & (target_N != 1)
    if wrong_N.any():
        n = int(wrong_N.argmax())
        raise ValueError(f"{where}: label {target_N[n]} in row {n}; expected 0 or 1 (is the task a regression?)")
    return score_N, target_N == 1


def _matching(where: str, score_N: np.ndarray, *more: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shapes = [np.shape(x) for x in (score_N, *more)]
    if len(shapes[0]) != 1 or len(set(shapes)) > 1:
        raise ValueError(f"{where}: arrays of shapes {shapes}; expected one value per row in each: flatten them first")
    score_N, target_N = np.asarray(score_N, np.float64), np.asarray(more[0], np.float64)
    for what, value_N in (("score", score_N), ("label", target_N)):
        if np.isnan(value_N).any():
            n = int(np.isnan(value_N).argmax())
            raise ValueError(
                f"{where}: the {what} in row {n} is nan; expected numbers: "
                + (
                    "did the training diverge? lower the learning rate"
                    if what == "score"
                    else "drop rows without label"
                )
            )
    return score_N, target_N


def _error(where: str, prediction_N: np.ndarray, target_N: np.ndarray) -> np.ndarray:
    prediction_N, target_N = _matching(where, prediction_N, target_N)
    return prediction_N - target_N


def _mean(value_N: np.ndarray) -> float:
    return float(value_N.mean()) if value_N.size else math.nan
