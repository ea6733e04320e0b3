"""How runs rank, at every threshold: the ROC and the precision-recall curve."""

from collections.abc import Callable, Mapping

import numpy as np

from dienjax.report.charts import UNIT, Axis, Values, lines
from dienjax.report.scored import Scored
from dienjax.report.section import Block, Chart, Section, Text

POINTS = 200
"""The most points of a curve."""

Curve = tuple[np.ndarray, np.ndarray]


def ranking(runs: Mapping[str, Scored]) -> Section:
    """ROC and precision-recall curves of binary runs, thinned to 200 points."""
    first = next(iter(runs.values()))
    share = float(first.label_M.mean())
    blocks: list[Block] = []
    numbers: dict[str, Values] = {}
    if 0 < share < 1:
        roc_ends = Axis("x", "share of the negatives above the threshold", ends=UNIT)
        numbers["roc"] = _values(runs, roc)
        spec = lines(numbers["roc"], roc_ends, Axis("y", "share of the positives above it", ends=UNIT), [*runs], UNIT)
        blocks.append(Chart("roc", "ROC", spec, "The ROC curve; a random ranking has the dashed line"))
        numbers["precision_recall"] = _values(runs, precision_recall)
        recall, precision = Axis("x", "recall", ends=UNIT), Axis("y", "precision", ends=UNIT)
        spec = lines(numbers["precision_recall"], recall, precision, [*runs])
        blocks.append(Chart("precision-recall", "Precision and recall", spec, "Precision by recall"))
    else:
        blocks.append(Text("The rows have one class only, which leaves both curves undefined."))
    text = f"{share:.2%} of the candidates are positive, which is the precision of a random ranking."
    return Section("ranking", "Ranking", text, blocks, numbers)


def roc(scored: Scored) -> Curve:
    """The share of the negatives, and that of the positives, above each threshold, from none to all."""
    from sklearn.metrics import roc_curve

    negative, positive, _ = roc_curve(scored.label_M > 0, scored.logit_M)
    return negative, positive


def precision_recall(scored: Scored) -> Curve:
    """Recall, ascending, and the precision there."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(scored.label_M > 0, scored.logit_M, drop_intermediate=True)
    return recall[::-1], precision[::-1]


def thinned(curve: Curve, most: int = POINTS) -> Curve:
    """At most that many of a curve's points, in steps of equal length along it; its ends are among them."""
    x, y = curve
    if len(x) <= most:
        return curve
    length = np.append(0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
    chosen = np.unique(np.searchsorted(length, np.linspace(0, length[-1], most)))
    chosen[-1] = len(x) - 1
    return x[chosen], y[chosen]


def _values(runs: Mapping[str, Scored], curve: Callable[[Scored], Curve]) -> Values:
    return [
        {"run": name, "x": x, "y": y}
        for name, one in runs.items()
        for x, y in np.transpose(thinned(curve(one))).tolist()
    ]
