"""The losses as sums over real entries divided by their number."""

import math


def cross_entropy(logit, label):
    """−label·log σ(logit) − (1 − label)·log(1 − σ(logit)), without overflow."""
    return max(logit, 0) - logit * label + math.log1p(math.exp(-abs(logit)))


def mean_over(mask, of):
    """The mean of of(b, j) over the entries where mask is True; 0 of none."""
    entries = [(b, j) for b in range(mask.shape[0]) for j in range(mask.shape[1]) if mask[b, j]]
    return sum(of(b, j) for b, j in entries) / len(entries) if entries else 0.0


def ctr(logit, label, mask, task="binary"):
    if task == "regression":
        return mean_over(mask, lambda b, k: (float(logit[b, k]) - float(label[b, k])) ** 2)
    return mean_over(mask, lambda b, k: cross_entropy(float(logit[b, k]), float(label[b, k])))


def auxiliary(positive, negative, mask, hist_label=None):
    """Half the sum of a step's two losses, averaged over the real steps."""

    def of(b, s):
        label = 1.0 if hist_label is None else float(hist_label[b, s])
        return (cross_entropy(float(positive[b, s]), label) + cross_entropy(float(negative[b, s]), 0.0)) / 2

    return mean_over(mask, of)
