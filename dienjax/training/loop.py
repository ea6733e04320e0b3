"""The training loop: epochs of steps, validation, early stopping, checkpoints, and an exact resume."""

import signal
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dienjax.batch import Batch
from dienjax.data.loader import Dataset, Loader, Planned
from dienjax.data.split import StoreSplit
from dienjax.data.store import Store
from dienjax.drawing.curves import plot_curves
from dienjax.errors import Interrupted
from dienjax.models.by_name import MODELS, title
from dienjax.models.contract import check_model
from dienjax.storage.files import write_json
from dienjax.storage.lock import lock
from dienjax.training import checkpoint, processes
from dienjax.training.choosing import remarks, validation_score
from dienjax.training.config import Config
from dienjax.training.evaluation import eval_loader, score, store_split
from dienjax.training.layout import Layout
from dienjax.training.metrics import auc_from_histogram
from dienjax.training.placed import eval_step, placed, train_step
from dienjax.training.preflight import check_data, check_labels, larger_split
from dienjax.training.progress import Record, import_tensorboard, say
from dienjax.training.resume import FILE, data_identity, reopen, start
from dienjax.training.run import Run
from dienjax.training.signals import noted_signals
from dienjax.training.step import Metrics, TrainState
from dienjax.training.warm_start import carry_weights, summary


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
    """Train on any data set, and return the run folder with its best and last checkpoint.

    Args:
      valid: chooses the best checkpoint by `config.fit.choose` and stops early; None trains all epochs.
      store: the event store behind the data sets, whose vocabularies the run keeps; None: the ids were ready-made.
      init_from: the run whose weights a new run starts from: an embedding row goes to its value's new id, and values
        that are new keep their initialisation. init.json says how many. A resumed run is past that.
      resume: continue a stopped run exactly where it was, on the same data; its config must be the given one, but
        epochs and patience may have grown.
      force: replace an existing run folder.

    Raises:
      ValueError: data that cannot be trained on, or is not what the run to be resumed was trained on.
      BlockingIOError: another process trains in the folder.
      FileExistsError: the folder exists, and neither `resume` nor `force` is given.
      FloatingPointError: the loss is not finite; the message says where and what to try.
      Interrupted: Ctrl-C or SIGTERM arrived; the state was saved first.
    """
    if config.fit.seeds > 1:
        raise ValueError(f"fit: fit.seeds is {config.fit.seeds}; expected 1: dienjax.fit_seeds trains several at once")
    with (
        opened(config, train, valid, path, store=store, init_from=init_from, resume=resume, force=force,
               progress=progress) as loop,
        noted_signals() as arrived,
        closing(loop.steps(arrived)) as steps,
        processes.answering(loop.run.path),
    ):  # fmt: skip
        step, metrics = train_step(loop.config, loop.run.model, loop.tx, loop.layout), None
        state = loop.state
        loop.held = lambda: state
        while (batch := next_batch(steps, metrics)) is not None:
            state, metrics = step(state, batch, loop.key)
    return loop.run


@contextmanager
def opened(
    config: Config,
    train: Dataset,
    valid: Dataset | None,
    path: str | Path,
    *,
    store: Store | None,
    init_from: Run | str | Path | None,
    resume: bool,
    force: bool,
    progress: bool,
) -> Iterator["Loop"]:
    """The loop of a run at its start, in a new folder or in that of the run to be resumed, which is locked meanwhile.

    The arguments and errors are those of `fit`.
    """
    data = config.data
    layout = Layout.of(config.devices, train.schema, data.batch_size)
    loader = Loader(train, data.batch_size, data.lengths, seed=config.fit.seed, share=layout.share)
    valid_loader = eval_loader(valid, data.batch_size, loader.lengths, layout.share) if valid is not None else None
    if config.fit.tensorboard:
        import_tensorboard()
    check_data(config, loader, valid_loader)
    if config.model.name not in MODELS:
        check_model(config.model.build(train.schema), config.model.name, config.auxiliary)
    path, identity = Path(path), data_identity(loader, valid_loader, store)
    processes.agree("config", config.to_dict())
    processes.agree("data set", identity)
    with ExitStack() as held:

        def complete(new: Run) -> None:
            write_json(new.path / FILE, identity)
            if init_from is not None:
                carry_weights(init_from, new)
            held.close()
            held.enter_context(lock(new.path))

        def run_folder() -> Run:
            if not processes.writes():
                return Run.open(path)
            if (resume or force) and (path / "config.toml").is_file():
                held.enter_context(lock(path))
            if resume and path.exists():
                return reopen(path, config, train.schema, identity, init_from)
            run = Run.create(path, config, train.schema, store, force, complete)
            if init_from is not None and progress:
                print(summary(run))
            return run

        run = processes.first_then_all(run_folder)
        yield Loop(run, loader, valid_loader, layout, progress and processes.writes())


def next_batch(steps: Generator[Any, Any, None], metrics: Metrics | None) -> Any:
    """The batch of the next step of a loop, which takes the metrics of the one before; None at its end."""
    try:
        return steps.send(metrics)
    except StopIteration:
        return None


def fit_store(
    config: Config, store: Store, path: str | Path, *, init_from: Run | str | Path | None = None, **how: bool
) -> Run:
    """Train on the splits of an event store that `config.data` names; `init_from` and the flags are those of `fit`."""
    config, train, valid = store_data(config, store)
    return fit(config, train, valid, path, store=store, init_from=init_from, **how)


def store_data(config: Config, store: Store) -> tuple[Config, StoreSplit, StoreSplit | None]:
    """The config for the splits of a store, and the training and the validation split that it names."""
    store.verify()
    config = config.for_splits(store.splits)
    train = store_split(config, store, config.data.train, auxiliary=config.auxiliary)
    valid = store_split(config, store, config.data.valid) if config.data.valid else None
    if hint := larger_split(store, config.data.train):
        say(hint)
    return config, train, valid


class Loop:
    """One run while it is trained: when it steps, looks, saves and stops. Who holds its state takes the steps.

    Attributes:
      held: gives the state after the last step.
      state: that state; before the first step, where the run begins.
    """

    def __init__(self, run: Run, loader: Loader, valid: Loader | None, layout: Layout, progress: bool) -> None:
        config = run.config
        self.run, self.config, self.loader, self.valid, self.layout = run, config, loader, valid, layout
        self.progress, self.tx = progress, run.optimizer(loader.steps())
        self.eval_step = eval_step(run.model, layout)
        seed = config.fit.seed
        self.key = jax.jit(lambda: jax.random.fold_in(jax.random.key(seed), 1), out_shardings=layout.everywhere)()
        self.pending: list[tuple[int, int, Planned, Metrics]] = []
        self.compiled: set[int] = set()
        self.asked = False
        first, self.position = start(run, self.tx, loader.steps(), layout)
        self.held: Callable[[], TrainState] = lambda: first

    @property
    def state(self) -> TrainState:
        return self.held()

    def steps(self, arrived: list[int]) -> Generator[Any, Any, None]:
        """The placed batch of each step, in exchange for its metrics; `arrived` are the signals that ask to stop."""
        self.arrived, fit = arrived, self.config.fit
        done, total = int(self.state.step), self.loader.steps() * fit.epochs
        name, writes = title(self.config.model.name), processes.writes()
        with Record(self.run.path, total, done, self.progress, fit.tensorboard, name, writes) as self.record:
            self.since = time.perf_counter()
            if self.position.due:
                self._validate(done)
            while self.position.epoch < fit.epochs and not self._patience_is_over():
                self._stop_if_asked()
                yield from self._epoch()
            if writes:
                self._plot()
        for remark in remarks(self.record.lines, fit.choose):
            say(remark)

    def _patience_is_over(self) -> bool:
        return 0 < self.config.fit.patience <= self.position.worse

    def _epoch(self) -> Generator[Any, Metrics, None]:
        fit, epoch, steps = self.config.fit, self.position.epoch, self.loader.steps()
        for planned, (batch, on_device) in self.loader.epoch(epoch, self.position.step, self._prepare):
            check_labels(batch, self.loader.shared(planned), self.config.loss.task)
            metrics = yield from self._step(planned.T, on_device)
            self.position = replace(self.position, step=self.position.step + 1)
            step = epoch * steps + self.position.step
            rows = int(batch.mask_BK.sum()) * processes.count()  # of this process, as many as of any other
            self.pending.append((step, rows, planned, metrics))
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
            self._stop_if_asked()
            if self._patience_is_over():
                return

    def _step(self, T: int, batch: Any) -> Generator[Any, Metrics, Metrics]:
        """One step; the first of a history length compiles, which the rows per second leave out."""
        if T in self.compiled:
            return (yield batch)
        self.compiled.add(T)
        started = time.perf_counter()
        with self.record.doing(f"compiling length {len(self.compiled)} of {len(self.loader.lengths)}"):
            metrics = yield batch
        self.since += time.perf_counter() - started
        return metrics

    def _stop_if_asked(self) -> None:
        if self.arrived if processes.count() == 1 else self.asked:
            self._save_last()
            raise Interrupted((self.arrived or [signal.SIGTERM])[0], self.run.path)

    def _prepare(self, batch: Batch) -> tuple[Batch, Any]:
        """The batch on the host, and what the step takes."""
        if not self.config.auxiliary:
            batch = replace(batch, negative=None)  # a data set may have them all the same
        return batch, placed(batch, self.layout, self.config.optimizer.rows == "lazy")

    def _log(self) -> None:
        """Waits for the steps since the last call, checks that they are finite, and records their means."""
        if not self.pending:
            return
        pending, self.pending = self.pending, []
        self.asked = processes.any_of(bool(self.arrived))  # several processes stop together, after the same step
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
            task, choose = self.config.loss.task, self.config.fit.choose
            self.position = position = replace(self.position, due=True)
            with self.record.doing("validating"):
                scores = score(self.eval_step, self.state.variables, self.valid, self._stop_if_asked, self.layout)
            metrics = scores.metrics(task)
            self.record.write("valid", step, (step - 1) // self.loader.steps(), metrics)
            value = validation_score(metrics, choose, task)
            if np.isnan(value):
                warnings.warn(
                    f"the validation {choose.upper()} is not defined (one class only): the best checkpoint is chosen "
                    "by log loss",
                    stacklevel=2,
                )
                value = validation_score(metrics, "logloss", task)
            better = position.best is None or value > position.best
            best, worse = (value, 0) if better else (position.best, position.worse + 1)
            self.position = replace(position, best=best, worse=worse, due=False)
            if better:
                checkpoint.save(self.run.path, "best", self.state, asdict(self.position), self.layout)
        self._save_last()
        self.since = time.perf_counter()

    def _save_last(self) -> None:
        self._log()
        checkpoint.save(self.run.path, "last", self.state, asdict(self.position), self.layout)

    def _plot(self) -> None:
        name = title(self.config.model.name)
        plot_curves(self.record.lines, self.run.path / "curves.png", f"{name} · {self.run.path.name}")
