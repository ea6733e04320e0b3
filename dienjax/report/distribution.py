"""How predictions are distributed, for each label."""

from collections.abc import Mapping

import numpy as np

from dienjax.report.charts import Axis, Values, histogram
from dienjax.report.scored import Scored
from dienjax.report.section import Chart, Section

BINS = 50
OUTSIDE = 0.001
"""The share of the rows at either end that the outermost bins take in, so that they do not squeeze the rest."""


def distribution(runs: Mapping[str, Scored]) -> Section:
    """Histograms of the logit of positives and of negatives; in a regression of predictions and of targets."""
    regression = next(iter(runs.values())).task == "regression"
    parts = {name: parts_of(one) for name, one in runs.items()}
    edges = common_edges([value_X for of_run in parts.values() for value_X in of_run.values()])
    numbers: dict[str, dict[str, list[int]]] = {
        name: {label: counts(value_X, edges).tolist() for label, value_X in of_run.items()}
        for name, of_run in parts.items()
    }
    values: Values = [
        {"run": name, "series": label, "x": x, "share": n / max(1, sum(count_Q))}
        for name, of_run in numbers.items()
        for label, count_Q in of_run.items()
        for x, n in zip(edges.tolist(), [*count_Q, 0], strict=True)
    ]
    title = "prediction" if regression else "logit"
    spec = histogram(values, Axis("x", title, ".2f"), Axis("share", "share of its rows", ".1%"), [*runs])
    chart = Chart("distribution", "Distribution of predictions", spec, f"Histograms of the {title}")
    text = "" if regression else (
        "The further apart positives and negatives are, the better they are told apart. Logit 0 is probability 0.5, "
        "2.2 is 0.9, and −2.2 is 0.1."
    )  # fmt: skip
    return Section("distribution", "Predictions", text, [chart], {"edges": edges.tolist(), "counts": numbers})


def parts_of(scored: Scored) -> dict[str, np.ndarray]:
    """What is drawn, by its name, as far as there is any."""
    if scored.task == "regression":
        return {"predicted": scored.logit_M, "target": scored.label_M}
    parts = {"negative": scored.logit_M[scored.label_M == 0], "positive": scored.logit_M[scored.label_M > 0]}
    return {label: logit_X for label, logit_X in parts.items() if len(logit_X)}


def common_edges(values: list[np.ndarray]) -> np.ndarray:
    """The edges of bins of equal width that hold nearly all of every array."""
    ends = np.array([np.quantile(value_X.astype(np.float64), (OUTSIDE, 1 - OUTSIDE)) for value_X in values])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    return np.linspace(low, high if high > low else low + 1, BINS + 1)


def counts(value_X: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many values are in each bin; those outside are in the nearest."""
    return np.histogram(np.clip(value_X.astype(np.float64), edges[0], edges[-1]), edges)[0]
