"""Our DIEN with the settings of the benchmarks, and what it is fed: K candidates per history."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dienjax import Batch, Behaviour, Config, DataConfig, FitConfig, LossConfig, ModelConfig, Schema, Store, Table
from dienjax.data.loader import Dataset
from dienjax.models.embedding import Embedded, FeatureEmbedder
from dienjax.models.output import Output
from dienjax.training.evaluation import store_split
from dienjax.training.layout import DevicesConfig, Layout
from dienjax.training.optimizers import make_optimizer
from dienjax.training.step import TrainState, init_state, make_eval_step, make_train_step
from experiments.benchmark import logs
from experiments.benchmark.setting import ATTENTION, DIM, STATE, TOWER, Columns, T

OPTIONS = {
    "kind": "AUGRU", "state": STATE, "attention_hidden": ATTENTION, "attention_activation": "relu",
    "tower": TOWER, "tower_activation": "relu",
}  # fmt: skip


def config(batch: int = 64, lengths: int | tuple[int, ...] | None = None, epochs: int = 1, seed: int = 0) -> Config:
    """The config of a run with this many histories per batch; without `lengths`, dienjax's default ones."""
    data = DataConfig(batch_size=batch, max_len=T)
    # One line of metrics an epoch, so that its speed is that of the whole epoch.
    fit = FitConfig(epochs=epochs, seed=seed, log_every=10**9)
    data = data if lengths is None else replace(data, lengths=lengths)
    return Config(ModelConfig("DIEN", DIM, OPTIONS), data, LossConfig(alpha=1.0), fit=fit)


def schema(sizes: Mapping[str, int]) -> Schema:
    """A schema of behaviours whose tables have these sizes."""
    return Schema(tuple(Table(n, size, DIM) for n, size in sizes.items()), tuple(Behaviour(n) for n in sizes))


def batch(columns: Columns, negatives: bool = True) -> Batch:
    """The columns as a batch."""
    fields = [name.removeprefix("neg_hist_") for name in columns if name.startswith("neg_hist_")]
    label_BK = columns["label"]
    return Batch(
        user={},
        history={name: columns[f"hist_{name}"] for name in fields},
        candidate={name: columns[name] for name in fields},
        mask_BT=np.arange(columns[f"hist_{fields[0]}"].shape[1]) < columns["length"][:, None],
        mask_BK=np.ones(label_BK.shape, bool),
        label_BK=label_BK,
        negative={name: columns[f"neg_hist_{name}"] for name in fields} if negatives else None,
    )


def columns(of: Batch) -> Columns:
    """The columns of a batch that has only real candidates."""
    if of.user or not of.mask_BK.all():
        raise ValueError(
            "the benchmarks take stores of behaviours alone, with sampled negatives: no users, impressions"
        )
    groups = (("", of.candidate), ("hist_", of.history), ("neg_hist_", of.negative or of.history))
    named = {prefix + name: array for prefix, group in groups for name, array in group.items()}
    return named | {"length": of.mask_BT.sum(1, dtype=np.int32), "label": of.label_BK}


def initial(model: nn.Module, seed: int = 0, negatives: bool = True) -> tuple[Any, TrainState]:
    """Adam and the state before the first step."""
    tx = make_optimizer(config().optimizer, 1, 1)
    return tx, init_state(model, tx, Batch.abstract(model.schema, 1, 2, 1, negatives), jax.random.key(seed))


def training(
    model: nn.Module, loss: LossConfig, batches: Sequence[Any], make_step: Callable[..., Any] = make_train_step
) -> Callable[[], None]:
    """A function that makes one training step, as a run does, with the next of the batches and waits for it."""
    tx, state = initial(model)
    threads = Layout.of(DevicesConfig(count=1), model.schema, 1).threads
    step, key, fed = make_step(model, tx, loss, threads=threads), jax.random.key(1), itertools.cycle(batches)

    def call() -> None:
        nonlocal state
        state, metrics = step(state, next(fed), key)
        jax.block_until_ready((state, metrics))

    return call


def scoring(model: nn.Module, requests: list[Batch]) -> Callable[[], None]:
    """A function that scores every request, each a history with its candidates, one after the other."""
    variables, step = initial(model)[1].variables, make_eval_step(model)

    def call() -> None:
        for request in requests:
            np.asarray(step(variables, request))

    return call


class Tables(nn.Module):
    """The tables alone: the logit is the sum of squares of all that a history looks up, so training shrinks them."""

    schema: Schema

    def setup(self) -> None:
        self.embedder = FeatureEmbedder(self.schema)

    def __call__(self, batch: Batch, train: bool = False) -> Output:
        return self.net(self.embedder(batch), train)

    def net(self, e: Embedded, train: bool = False) -> Output:
        history_B = sum(jnp.square(x).sum((1, 2)) for x in (e.history_BTE, e.negative_BTE))
        return Output(history_B[:, None] + jnp.square(e.candidate_BKE).sum(-1))


class First:
    """The first samples of a data set, as a data set."""

    def __init__(self, of: Dataset, samples: int) -> None:
        self.of, self.schema = of, of.schema
        self.length_N, self.user_N = of.length_N[:samples], of.user_N[:samples]

    def rows(self, index_B: np.ndarray, T: int, epoch: int) -> Batch:
        return self.of.rows(index_B, T, epoch)


def split(store: str, name: str, of: Config, samples: int = 0) -> Dataset:
    """A split of a store, or its first `samples`; every split but "test" has sampled negative histories."""
    dataset = store_split(of, Store.open(store), name, auxiliary=name != "test")
    return First(dataset, samples) if samples else dataset


def prepared(out: str, events: int, seed: int, merged: int = 1) -> None:
    """Prepare the store of a generated log at `out`, protocol last, with `merged` users at a time as one."""
    import pandas as pd

    from dienjax import prepare

    log = pd.DataFrame(logs.generate(events, seed))
    log["user"] //= merged
    prepare(log, out, user="user", item="item", time="time", attributes=["category"], protocol="last")


def write_columns(out: str, store: str, name: str, samples: int, seed: int) -> dict[str, int]:
    """Write a split's columns, with the sampled negatives of epoch 0, to `out` as .npz; return the table sizes."""
    dataset = split(store, name, config(seed=seed), samples)
    np.savez(out, **columns(dataset.rows(np.arange(len(dataset.length_N)), T, 0)))
    return dataset.schema.sizes()
