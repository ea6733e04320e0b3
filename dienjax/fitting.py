"""The training loop: epochs of steps, validation, early stopping, checkpoints, and an exact resume."""

import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dienjax import checkpoint
from dienjax.batch import Batch
from dienjax.carry import carry_weights, check_origin, summary
from dienjax.config import Config
from dienjax.data.loader import Dataset, Loader, Planned
from dienjax.data.store import Store
from dienjax.errors import Interrupted
from dienjax.evaluation import eval_loader, score, store_split
from dienjax.lazy_rows import make_lazy_train_step, renumber
from dienjax.metrics import Task, auc_from_histogram
from dienjax.record import Record, import_tensorboard
from dienjax.report import plot_curves
from dienjax.run import Run
from dienjax.train import Metrics, TrainState, make_eval_step, make_train_step


@dataclass(frozen=True)
class Position:
    """Where the loop stands: the next batch is number `step` of `epoch`. Saved beside the state."""

    epoch: int = 0
    step: int = 0
    best: float | None = None
    worse: int = 0


def fit(
    config: Config,
    train: Dataset,
    valid: Dataset | None,
    path: str | Path,
    *,
    store: Store | None = None,
    init_from: Run | str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
) -> Run:
    """Trains on any data set and returns the run folder with its best and last checkpoint.

    Args:
      valid: chooses the best checkpoint by AUC (regression: RMSE) and stops early; None trains all epochs.
      store: the event store behind the data sets, whose vocabularies the run keeps; None: the ids were ready-made.
      init_from: the run whose weights a new run starts from: an embedding row goes to its value's new id, and values
        that are new keep their initialisation. init.json says how many. A resumed run is past that.
      resume: continue a stopped run exactly where it was; its config must be the given one.
      force: replace an existing run folder.

    Raises:
      FileExistsError: the folder exists, and neither `resume` nor `force` is given.
      FloatingPointError: the loss is not finite; the message says where and what to try.
      Interrupted: Ctrl-C or SIGTERM arrived; the state was saved first.
    """
    data = config.data
    loader = Loader(train, data.batch_size, data.lengths, seed=config.fit.seed)
    valid_loader = eval_loader(valid, data.batch_size, loader.lengths) if valid is not None else None
    if config.fit.tensorboard:
        import_tensorboard()
    if resume and Path(path).exists():
        run = _reopen(path, config, train)
        check_origin(run, init_from)
    elif init_from is None:
        run = Run.create(path, config, train.schema, store, force)
    else:
        run = Run.create(path, config, train.schema, store, force, partial(carry_weights, init_from))
        if progress:
            print(summary(run))
    return _Loop(run, loader, valid_loader).train(progress)


def fit_store(
    config: Config, store: Store, path: str | Path, *, init_from: Run | str | Path | None = None, **how: bool
) -> Run:
    """Trains on the splits of an event store that `config.data` names; `init_from` and the flags are those of `fit`."""
    store.verify()
    config = config.for_splits(store.splits)
    train = store_split(config, store, config.data.train, auxiliary=config.auxiliary)
    valid = store_split(config, store, config.data.valid) if config.data.valid else None
    return fit(config, train, valid, path, store=store, init_from=init_from, **how)


def _reopen(path: str | Path, config: Config, train: Dataset) -> Run:
    run = Run.open(path)
    run.check_schema(train.schema, "the training data")
    was, now = (_flat(c.to_dict()) for c in (run.config, config))
    changed = [f"  {k}: {was.get(k)!r} -> {now.get(k)!r}" for k in sorted(was | now) if was.get(k) != now.get(k)]
    if changed:
        raise ValueError(
            f"cannot resume {path}: the config has changed:\n" + "\n".join(changed) + "\n"
            "Resume with the config of the run, or train in another folder"
        )
    return run


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    return {f"{s}.{k}": list(v) if isinstance(v, tuple) else v for s, part in config.items() for k, v in part.items()}


class _Loop:
    """The parts that one training run needs, and its current state."""

    def __init__(self, run: Run, loader: Loader, valid: Loader | None) -> None:
        config = run.config
        self.run, self.config, self.loader, self.valid = run, config, loader, valid
        self.tx = run.optimizer(self.loader.steps())
        self.lazy = config.optimizer.rows == "lazy"
        make_step: Any = make_lazy_train_step if self.lazy else make_train_step
        self.train_step = make_step(run.model, self.tx, config.loss, config.data.unknown)
        self.eval_step = make_eval_step(run.model)
        self.key = jax.random.fold_in(jax.random.key(config.fit.seed), 1)  # dropout; fold 0 is not used: parameters
        self.pending: list[tuple[int, int, Planned, Metrics]] = []

    def train(self, progress: bool) -> Run:
        fit, steps = self.config.fit, self.loader.steps()
        self.state, self.position = self._start()
        done = int(self.state.step)
        title = self.config.model.name
        with (
            Record(self.run.path, steps * fit.epochs, done, progress, fit.tensorboard, title) as self.record,
            _signals() as arrived,
        ):
            self.since = time.perf_counter()
            while self.position.epoch < fit.epochs and not self._patience_is_over():
                self._epoch(arrived)
            self._plot()
        return self.run

    def _start(self) -> tuple[TrainState, Position]:
        if checkpoint.steps(self.run.path, "last"):
            state, position = self.run.restore("last", self.tx)
            return state, Position(**position)
        return self.run.initial_state(self.tx), Position()

    def _patience_is_over(self) -> bool:
        return 0 < self.config.fit.patience <= self.position.worse

    def _epoch(self, arrived: list[int]) -> None:
        fit, epoch, steps = self.config.fit, self.position.epoch, self.loader.steps()
        for planned, (batch, on_device) in self.loader.epoch(epoch, self.position.step, self._prepare):
            _check_labels(batch, planned, self.config.loss.task)
            self.state, metrics = self.train_step(self.state, on_device, self.key)
            self.position = replace(self.position, step=self.position.step + 1)
            step = epoch * steps + self.position.step
            self.pending.append((step, int(batch.mask_BK.sum()), planned, metrics))
            self.record.bar.update()
            if len(self.pending) >= fit.log_every:
                self._log()
            last_of_epoch = self.position.step == steps
            if last_of_epoch:
                self.position = replace(self.position, epoch=epoch + 1, step=0)
            due = step % fit.evaluate_every == 0 if fit.evaluate_every else last_of_epoch
            if due or step == steps * fit.epochs:
                self._validate(step)
            elif fit.save_every and step % fit.save_every == 0:
                self._save_last()
            if arrived:
                self._save_last()
                raise Interrupted(arrived[0], self.run.path)
            if self._patience_is_over():
                return

    def _prepare(self, batch: Batch) -> tuple[Batch, Any]:
        """The batch on the host, and what the step takes."""
        rows = renumber(batch, self.loader.dataset.schema) if self.lazy else batch
        return batch, jax.device_put(rows)

    def _log(self) -> None:
        """Waits for the steps since the last call, checks that they are finite, and records their means."""
        if not self.pending:
            return
        pending, self.pending = self.pending, []
        values = jax.device_get([metrics for *_, metrics in pending])
        for (step, _, planned, _), metrics in zip(pending, values, strict=True):
            if not np.isfinite(metrics["loss"]):
                raise FloatingPointError(self._not_finite(step, planned, metrics))
        line = {k: float(np.mean([m[k] for m in values])) for k in values[0] if k != "auc_histogram"}
        if "auc_histogram" in values[0]:
            line["auc"] = auc_from_histogram(sum(m["auc_histogram"] for m in values))
        now = time.perf_counter()
        line["rows_per_second"] = sum(rows for _, rows, *_ in pending) / (now - self.since)
        self.since = now
        step = pending[-1][0]
        self.record.write("train", step, (step - 1) // self.loader.steps(), line)

    def _not_finite(self, step: int, planned: Planned, metrics: dict[str, np.ndarray]) -> str:
        steps = self.loader.steps()
        losses = ", ".join(f"{k} {float(v):.4g}" for k, v in metrics.items() if k != "auc_histogram")
        samples = ", ".join(map(str, planned.index[:5]))
        return (
            f"the loss is not finite at step {step} (epoch {(step - 1) // steps}, batch {(step - 1) % steps} of "
            f"{steps}, history length {planned.T}, samples {samples}, ...): {losses}. The last checkpoint is older. "
            f"Try a smaller optimizer.learning_rate (now {self.config.optimizer.learning_rate}), "
            "optimizer.clip_norm=1, and check dense features for values far from 0"
        )

    def _validate(self, step: int) -> None:
        self._log()
        if self.valid is not None:
            task, position = self.config.loss.task, self.position
            metrics = score(self.eval_step, self.state.variables, self.valid).metrics(task)
            self.record.write("valid", step, (step - 1) // self.loader.steps(), metrics)
            value = metrics["auc"] if task == "binary" else -metrics["rmse"]
            if np.isnan(value):
                warnings.warn(
                    "the validation AUC is not defined (one class only): the best checkpoint is chosen by log loss",
                    stacklevel=2,
                )
                value = -metrics["logloss"]
            better = position.best is None or value > position.best
            best, worse = (value, 0) if better else (position.best, position.worse + 1)
            self.position = replace(position, best=best, worse=worse)
            if better:
                checkpoint.save(self.run.path, "best", self.state, asdict(self.position))
        self._save_last()
        self.since = time.perf_counter()

    def _save_last(self) -> None:
        self._log()
        checkpoint.save(self.run.path, "last", self.state, asdict(self.position))

    def _plot(self) -> None:
        plot_curves(self.record.lines, self.run.path / "curves.png", f"{self.config.model.name} · {self.run.path.name}")


def _check_labels(batch: Batch, planned: Planned, task: Task) -> None:
    """Raises ValueError for a label that a logistic loss cannot take."""
    labels = {"label": batch.label_BK} if task == "binary" else {}
    if batch.hist_label_BT is not None:
        labels["hist_label"] = batch.hist_label_BT
    for name, label in labels.items():
        if (bad := (label < 0) | (label > 1)).any():
            row, at = np.argwhere(bad)[0]
            raise ValueError(
                f"fit: {name} holds {label[row, at]} in sample {planned.index[row]}; expected 0 to 1 (1: clicked): "
                'convert it, or set loss.task="regression" for a numeric label'
            )


@contextmanager
def _signals() -> Iterator[list[int]]:
    """A list that SIGINT and SIGTERM append to, so that the loop can finish its step; a second one acts at once."""
    arrived: list[int] = []
    previous: dict[int, Any] = {}

    def note(number: int, _: object) -> None:
        arrived.append(number)
        signal.signal(number, previous[number])

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.getsignal(number)
            signal.signal(number, note)
    except ValueError:  # not the main thread: Python delivers signals elsewhere
        previous.clear()
    try:
        yield arrived
    finally:
        for restored, handler in previous.items():
            signal.signal(restored, handler)
