"""Whether a device's numbers are right: against the CPU, against itself after a stop, and against its own export."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

Found = dict[str, Any]

STEP, AUC = 1e-3, 0.01
"""How far a step may be from the CPU's, relative to the largest number of an array, and an AUC from another."""


def step_against_cpu() -> Found:
    """Five training steps of a DIEN, lazy rows and Adam, on the default device and on the CPU."""
    import jax
    import numpy as np

    from dienjax.training.lazy_rows import make_lazy_train_step, renumber
    from experiments.benchmark.ours import batch, config, initial, schema
    from experiments.benchmark.setting import SIZES, full

    model = config().model.build(schema(SIZES))
    rows = [renumber(batch(full(64, 10, seed=seed)), model.schema) for seed in range(5)]

    def after(device: Any) -> Any:
        with jax.default_device(device), jax.default_matmul_precision("highest"):
            tx, state = initial(model)
            step = make_lazy_train_step(model, tx, config().loss)
            for one in rows:
                state, metrics = step(state, one, jax.random.key(1))
            return jax.device_get((state.params, metrics["loss"]))

    here, there = after(jax.devices()[0]), after(jax.devices("cpu")[0])
    pairs = zip(jax.tree.leaves(here), jax.tree.leaves(there), strict=True)
    worst = max(float(np.abs(a - b).max() / max(1e-3, np.abs(b).max())) for a, b in pairs)
    return {"right": worst < STEP, "difference": worst}


def resume() -> Found:
    """A run of two epochs in one go, and stopped after the first: the AUC of both, and whether all bits are equal."""
    import jax
    import numpy as np

    from dienjax import evaluate, fit_store

    with tempfile.TemporaryDirectory() as folder:
        store, config = _small(Path(folder))
        whole = fit_store(config, store, Path(folder) / "whole", progress=False)
        first = replace(config, fit=replace(config.fit, epochs=1))
        fit_store(first, store, Path(folder) / "parts", progress=False)
        parts = fit_store(config, store, Path(folder) / "parts", progress=False, resume=True)
        states = [run.restore("last", run.optimizer())[0] for run in (whole, parts)]
        equal = jax.tree.all(jax.tree.map(lambda a, b: bool(np.array_equal(a, b)), *states))
        aucs = [evaluate(run, store)["auc"] for run in (whole, parts)]
    return {"right": abs(aucs[0] - aucs[1]) < AUC, "bits equal": equal, "auc": aucs}


def export() -> Found:
    """The export of a run trained here; it compares its graphs with JAX, and raises where they differ."""
    from dienjax import fit_store
    from dienjax.export import export_run

    with tempfile.TemporaryDirectory() as folder:
        store, config = _small(Path(folder))
        run = fit_store(config, store, Path(folder) / "run", progress=False)
        made = export_run(run.path, Path(folder) / "export", form="stablehlo")
        return {"right": True, "parity": (made / "parity.txt").read_text(encoding="utf-8").splitlines()[0]}


def _small(folder: Path) -> tuple[Any, Any]:
    """A store of a small drifting world, and a config that learns from it."""
    from dienjax import Config, DataConfig, FitConfig, ModelConfig, OptimizerConfig, prepare
    from dienjax.data.drift import DriftWorld
    from dienjax.training.layout import DevicesConfig

    roles = {"user": "user", "item": "item", "time": "time", "attributes": ["category"]}
    store = prepare(DriftWorld(users=400).log(), folder / "store", **roles, test_fraction=0.2, valid_fraction=0.2)
    config = Config(
        ModelConfig("DIEN", dim=8),
        DataConfig(train="train_all", batch_size=64, max_len=15, lengths=1),
        optimizer=OptimizerConfig(learning_rate=5e-3),
        fit=FitConfig(epochs=2, patience=0),
        devices=DevicesConfig(count=1),
    )
    return store, config


CHECKS: dict[str, Callable[[], Found]] = {"step against the CPU": step_against_cpu, "resume": resume, "export": export}
