"""Which validation is the best one, and what a reader should know about the choice."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from dienjax.drawing.curves import series
from dienjax.training.config import Choose
from dienjax.training.metrics import Task

LEAST_AUC = 0.55
"""A validation AUC below this is hardly better than guessing."""
LOGLOSS_RATIO = 1.05
"""The ratio of the chosen checkpoint's log loss to the lowest one above which the two disagree."""


def validation_score(metrics: dict[str, float], choose: Choose, task: Task) -> float:
    """What a validation is worth, higher is better; NaN if its metric is undefined."""
    if task == "regression":
        return -metrics["rmse"]
    return -metrics["logloss"] if choose == "logloss" else metrics[choose]


def remarks(lines: Iterable[dict[str, Any]], choose: Choose) -> list[str]:
    """A sentence for each finding in the lines of metrics.jsonl that makes the chosen checkpoint doubtful."""
    lines = list(lines)
    found = []
    _, auc_Q = series(lines, "valid", "auc")
    if len(auc_Q) and auc_Q.max() < LEAST_AUC:
        found.append(
            f"the validation AUC is {auc_Q.max():.3f} at best, and guessing gives 0.5: check that data.train has "
            "enough samples, that the time column orders the events, and that items recur (`dienjax inspect` shows "
            "these); then try more fit.epochs or another optimizer.learning_rate"
        )
    step_Q, loss_Q = series(lines, "valid", "logloss")
    chosen_Q, value_Q = series(lines, "valid", choose)
    if choose == "logloss" or not len(value_Q):
        return found
    chosen = chosen_Q[np.argmax(value_Q)]
    loss, least = loss_Q[step_Q == chosen][0], loss_Q.min()
    if loss > LOGLOSS_RATIO * least:
        found.append(
            f"the chosen step {chosen:,.0f} has validation log loss {loss:.3f}, step {step_Q[np.argmin(loss_Q)]:,.0f} "
            f'had {least:.3f}: where probabilities matter, set fit.choose="logloss", or scale them with '
            "`dienjax predict --calibrate`"
        )
    return found
