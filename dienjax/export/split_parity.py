"""Parity of the exported ranker with JAX on all samples of a split, by the loader and metrics of an evaluation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dienjax.batch import Batch
from dienjax.data.store import Store
from dienjax.export.graphs import in_float32
from dienjax.export.parity import TOLERANCE, WHAT_TO_DO, difference, worst
from dienjax.serving.session import open_session
from dienjax.training.evaluation import EvalStep, Scores, eval_loader, score, store_split
from dienjax.training.metrics import Task, auc, rmse, to_json
from dienjax.training.run import Run
from dienjax.training.step import make_eval_step


class OnSplit:
    """JAX's scores of the samples of a split, computed before jax2onnx leaves its traces; `compare` comes after.

    Args:
      variables: the model's variables, with float32 tables.
      store: the path of the store; if empty, the run's own.
    """

    def __init__(self, run: Run, variables: dict[str, Any], split: str, store: str = "") -> None:
        opened = Store.open(store) if store else run.store()
        run.check_schema(opened.schema, f"the store {opened.path}")
        opened.verify()
        data = run.config.data
        self.task, self.split, self.samples = run.config.loss.task, split, len(opened.samples(split))
        self.loader = eval_loader(store_split(run.config, opened, split), data.batch_size, data.lengths)
        self.want = score(_jax_step(in_float32(run.model), self.task), variables, self.loader)

    def compare(self, file: Path, ids: str, exact: bool) -> dict[str, Any]:
        """The number of samples, the largest difference of the ranker in `file`, the AUC or RMSE of both, as JSON.

        Args:
          ids: the dtype of the ranker's ids.
          exact: whether its tables are float32 too.

        Raises:
          ValueError: `exact`, and a score or the AUC differs.
        """
        got = score(_onnx_step(file, ids), {}, self.loader)
        return {"name": self.split, "samples": self.samples, **compare_scores(got, self.want, self.task, exact)}


def _jax_step(model: Any, task: Task) -> EvalStep:
    """An evaluation step that gives what is served, probabilities or predictions, in place of logits."""
    step = make_eval_step(model)
    return step if task == "regression" else lambda variables, batch: jax.nn.sigmoid(step(variables, batch))


def _onnx_step(file: Path, ids: str) -> EvalStep:
    session = open_session(file)

    def step(_: Any, batch: Batch) -> Any:
        arrays = {f"hist_{name}": array for name, array in batch.history.items()} | batch.candidate | batch.user
        feed = {name: array.astype(ids) if array.dtype.kind == "i" else array for name, array in arrays.items()}
        return session.run(None, feed)[0]

    return step


def compare_scores(got: Scores, want: Scores, task: Task, exact: bool) -> dict[str, Any]:
    """The number of candidates, the largest difference, and the AUC (regression: RMSE) of both, as JSON.

    Raises:
      ValueError: `exact`, and scores differ by more than TOLERANCE, or the AUC by more than 1e-5.
    """
    mask_NK, label_C = want.mask_NK, want.label_NK[want.mask_NK]
    got_C, want_C = got.logit_NK[mask_NK], want.logit_NK[mask_NK]
    difference_C = difference(got_C, want_C)
    largest = float(difference_C.max(initial=0))
    if exact and not largest <= TOLERANCE:
        (c,) = worst(difference_C)
        n, k = np.argwhere(mask_NK)[c]
        raise ValueError(
            f"ranker (onnxruntime) and JAX differ by {largest:.3g} on the split; expected at most {TOLERANCE:g}. For "
            f"candidate {k} of row {n} they give {got_C[c]:.7g} and {want_C[c]:.7g}. {WHAT_TO_DO}"
        )
    name, metric = ("rmse", rmse) if task == "regression" else ("auc", auc)
    onnx, ours = metric(got_C, label_C), metric(want_C, label_C)
    if exact and task == "binary" and abs(onnx - ours) > _auc_tolerance(label_C):
        raise ValueError(
            f"the AUC on the split is {onnx:.6f} by ranker (onnxruntime) and {ours:.6f} by JAX; expected no difference "
            f"above 1e-5. No score differs by more than {largest:.1g}, so many candidates have nearly equal scores: "
            "train the model further, or export without the split"
        )
    return {"candidates": len(label_C), "largest_difference": largest, name: to_json({"jax": ours, "onnx": onnx})}


def _auc_tolerance(label_C: np.ndarray) -> float:
    """1e-5, or the share of a single pair of a positive and a negative in a split with fewer pairs."""
    positives = int(label_C.sum())
    return max(1e-5, 1 / max(1, positives * (len(label_C) - positives)))


def split_text(facts: Mapping[str, Any]) -> str:
    """The lines of parity.txt for the result of `OnSplit.compare`."""
    name = next(name for name in ("auc", "rmse") if name in facts)
    both = [f"{'undefined' if x is None else f'{x:.5f}'} ({who})" for who, x in facts[name].items()]
    return (
        f"\nsplit {facts['name']}: {facts['samples']:,} samples, {facts['candidates']:,} candidates\n"
        f"largest difference of the ranker from JAX with float32 tables: {facts['largest_difference']:.1e}\n"
        f"{name.upper()}: {', '.join(both)}\n"
    )
