"""One row of the table: how far two runs of one model are apart, and whether that is within the targets."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]

TARGETS = {
    "probability": 1e-6,
    "probability_64": 1e-12,
    "auxiliary": 1e-6,
    "auxiliary_64": 1e-12,
    "gradient": 1e-5,
    "gradient_64": 1e-10,
    "trained": 1e-4,
    "trained_64": 1e-6,
}
"""The largest difference of each column from the library's float64; those that end in _64 are of our float64."""

ZERO = 1e-12
"""A parameter whose float64 gradient is below this fraction of the largest one has no effect on the loss: a bias before
a batch norm or a softmax. Its gradient is rounding noise, which Adam blows up to steps of the learning rate."""

FLOOR = 0.01
"""A sum that cancels, such as the gradient of one bias, is as exact as its terms: a gradient's difference counts
relative to the largest of its parameter's, but to no less than this fraction of the largest gradient of the model."""


@dataclass(frozen=True)
class Run:
    """What one side computes on the first batch, and its parameters after training; arrays by state_dict key.

    Attributes:
      evaluated_B: probabilities with running statistics.
      trained_B: probabilities in train mode, with the statistics of the batch.
      auxiliary: the library's auxiliary loss before its weight alpha.
      gradients: of the loss, by parameter.
      trained: the state_dict after all training steps.
    """

    evaluated_B: np.ndarray
    trained_B: np.ndarray
    auxiliary: float
    gradients: Arrays
    trained: Arrays


def without_effect(gradients_64: Arrays) -> list[str]:
    """The parameters whose true gradient is 0."""
    largest = {key: np.abs(gradient).max() for key, gradient in gradients_64.items()}
    return [key for key, value in largest.items() if value < ZERO * max(largest.values())]


def differences(theirs: Run, ours: Run, unused: list[str]) -> dict[str, float]:
    """The largest differences: of probabilities in either mode, auxiliary loss, gradients, parameters after training.

    Parameters without effect (`unused`) do not count; "noise" has theirs after training.
    """
    used = [key for key in theirs.gradients if key not in unused]
    return {
        "probability": max(_largest(theirs.evaluated_B, ours.evaluated_B), _largest(theirs.trained_B, ours.trained_B)),
        "auxiliary": abs(theirs.auxiliary - ours.auxiliary),
        "gradient": max(gradient_differences(theirs.gradients, ours.gradients, used).values()),
        "trained": max(_largest(theirs.trained[key], ours.trained[key]) for key in used),
        "noise": max((_largest(theirs.trained[key], ours.trained[key]) for key in unused), default=0.0),
    }


def gradient_differences(theirs: Arrays, ours: Arrays, keys: Iterable[str]) -> dict[str, float]:
    """max|Δ| / max|theirs| by parameter, see `FLOOR`."""
    largest = {key: float(np.abs(gradient).max()) for key, gradient in theirs.items()}
    floor = FLOOR * max(largest.values())
    return {key: _largest(theirs[key], ours[key]) / max(largest[key], floor) for key in keys}


def state_difference(theirs: Arrays, ours: Arrays) -> float:
    """The largest difference of two state_dicts: of all parameters, and of the batch norm statistics."""
    return max(_largest(theirs[key], ours[key]) for key in theirs if not key.endswith("num_batches_tracked"))


def row(theirs: tuple[Run, Run], ours: tuple[Run, Run], round_trip: bool) -> dict[str, Any]:
    """All columns, from runs in (float32, float64): of ours and, as "own_...", of the library's own float32.

    Both are differences from the library's float64: two roundings do not add up.
    """
    (theirs_32, reference), (ours_32, ours_64) = theirs, ours
    unused = without_effect(reference.gradients)
    columns: dict[str, Any] = differences(reference, ours_32, unused)
    columns |= {f"own_{name}": value for name, value in differences(reference, theirs_32, unused).items()}
    columns |= {f"{name}_64": value for name, value in differences(reference, ours_64, []).items()}
    columns["trained_64"] = state_difference(reference.trained, ours_64.trained)
    return columns | {"without_effect": unused, "round_trip": round_trip}


def missed(row: dict[str, Any]) -> list[str]:
    """The columns that miss their target.

    Training is judged in float64: in float32 Adam magnifies rounding wherever a gradient is almost 0.
    """
    names = [name for name, target in TARGETS.items() if name != "trained" and not row[name] <= target]
    return names if row["round_trip"] else [*names, "round_trip"]


def _largest(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape:
        raise ValueError(f"shapes {a.shape} and {b.shape} differ")
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())
