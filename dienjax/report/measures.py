"""What a run is measured by, as statistics that a bootstrap can take of any groups of rows."""

from collections.abc import Callable

import numpy as np

from dienjax.report.bootstrap import Auc, Ratio, Statistic, one_group
from dienjax.training.metrics import AucByGroup, Task, log_losses, sigmoid

Measure = Callable[..., Statistic]
"""(logit_M, label_M, user_M, group_M=None) -> its statistic over the rows of each group."""


def probabilities(logit_M: np.ndarray) -> np.ndarray:
    """The sigmoid of logits, in float64."""
    return sigmoid(logit_M.astype(np.float64))


def errors(prediction_M: np.ndarray, target_M: np.ndarray) -> np.ndarray:
    """How far predictions are above their targets, in float64."""
    return prediction_M.astype(np.float64) - target_M


def gauc(score_M: np.ndarray, label_M: np.ndarray, user_M: np.ndarray, group_M: np.ndarray | None = None) -> Ratio:
    """The mean AUC of the users of each group with both classes in it, weighted by their rows there."""
    group_M, users = one_group(label_M, group_M), int(user_M.max(initial=-1)) + 1
    by_user = AucByGroup(score_M, label_M > 0, group_M.astype(np.int64) * users + user_M)
    auc_P, rows_P = by_user()
    counted_P = np.where(np.isnan(auc_P), 0, rows_P)
    return Ratio(np.nan_to_num(auc_P) * counted_P, counted_P, by_user.group_G % users, by_user.group_G // users)


def logloss(logit_M: np.ndarray, label_M: np.ndarray, user_M: np.ndarray, group_M: np.ndarray | None = None) -> Ratio:
    return Ratio(log_losses(logit_M, label_M), np.ones(len(label_M)), user_M, group_M)


def calibration(
    logit_M: np.ndarray, label_M: np.ndarray, user_M: np.ndarray, group_M: np.ndarray | None = None
) -> Ratio:
    return Ratio(probabilities(logit_M), label_M, user_M, group_M)


def rmse(logit_M: np.ndarray, label_M: np.ndarray, user_M: np.ndarray, group_M: np.ndarray | None = None) -> Ratio:
    return Ratio(errors(logit_M, label_M) ** 2, np.ones(len(label_M)), user_M, group_M, root=True)


def mae(logit_M: np.ndarray, label_M: np.ndarray, user_M: np.ndarray, group_M: np.ndarray | None = None) -> Ratio:
    return Ratio(np.abs(errors(logit_M, label_M)), np.ones(len(label_M)), user_M, group_M)


MEASURES: dict[Task, dict[str, Measure]] = {
    "binary": {"auc": Auc, "gauc": gauc, "logloss": logloss, "calibration": calibration},
    "regression": {"rmse": rmse, "mae": mae},
}
"""By the names that `dienjax.evaluate` has for them."""

OF_GROUPS: dict[Task, tuple[str, ...]] = {"binary": ("auc", "gauc"), "regression": ("rmse", "mae")}
"""What groups of rows are measured by."""

COMPARED: dict[Task, tuple[str, ...]] = {"binary": ("auc", "gauc", "logloss"), "regression": ("rmse", "mae")}
"""What runs are compared by."""

TITLES = {
    "auc": "AUC", "gauc": "GAUC", "logloss": "log loss", "calibration": "calibration", "rmse": "RMSE", "mae": "MAE",
}  # fmt: skip


def group_counts(label_M: np.ndarray, user_M: np.ndarray, group_M: np.ndarray, task: Task) -> list[dict[str, int]]:
    """The rows of each group, how many of them are positive unless it is a regression, and their users."""
    has_GU = np.zeros((int(group_M.max(initial=-1)) + 1, int(user_M.max(initial=-1)) + 1), bool)
    has_GU[group_M, user_M] = True
    counts = {"rows": np.bincount(group_M)}
    if task == "binary":
        counts["positives"] = np.bincount(group_M[label_M > 0], minlength=len(has_GU))
    counts["users"] = has_GU.sum(axis=1)
    return [dict(zip(counts, row, strict=True)) for row in np.transpose([*counts.values()]).tolist()]
