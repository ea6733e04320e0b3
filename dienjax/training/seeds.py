"""Several seeds of one config, trained at once: one compiled step moves the states of all, each run has its folder."""

from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dienjax.data.store import Store
from dienjax.training.config import Config
from dienjax.training.layout import Layout
from dienjax.training.lazy_rows import RowsBatch
from dienjax.training.loop import next_batch, opened, store_data
from dienjax.training.placed import train_step
from dienjax.training.run import Run
from dienjax.training.signals import noted_signals


def fit_seeds(
    config: Config,
    store: Store,
    path: str | Path,
    *,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
) -> list[Run]:
    """Train `fit.seeds` seeds from `fit.seed` on, at once, and return their runs: `path`/seed0 and so on.

    Each seed has its own parameters, order of the data, negatives and dropout; its run is that of `fit_store` up to
    rounding. A step has the longest histories of all seeds. A seed whose patience is over waits for the others.

    Raises:
      ValueError: as `fit`, or several devices, or tables on the host: one device trains all seeds.
    """
    seeds = range(config.fit.seed, config.fit.seed + config.fit.seeds)
    layout = Layout.of(config.devices, store.schema, config.data.batch_size)
    if layout.elsewhere:
        raise ValueError(
            f"fit.seeds is {len(seeds)}, which one device trains; got {len(layout.devices)} devices and "
            f'devices.tables="{layout.tables}": set devices.count=1 and devices.tables="replicated"'
        )
    with ExitStack() as stack:
        loops = []
        for seed in seeds:
            of_seed, train, valid = store_data(replace(config, fit=replace(config.fit, seed=seed, seeds=1)), store)
            run = opened(of_seed, train, valid, Path(path) / f"seed{seed}", store=store, init_from=None, resume=resume,
                         force=force, progress=progress and seed == seeds[0])  # fmt: skip
            loops.append(stack.enter_context(run))
        one = train_step(loops[0].config, loops[0].run.model, loops[0].tx, replace(layout, threads=1))
        step = jax.jit(jax.vmap(one), donate_argnums=0)
        states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(loop.state for loop in loops))
        for i, loop in enumerate(loops):
            loop.held = partial(lambda i: jax.tree.map(lambda leaf: leaf[i], states), i)
        keys = jnp.stack([loop.key for loop in loops])
        arrived = stack.enter_context(noted_signals())
        steps = [stack.enter_context(closing(loop.steps(arrived))) for loop in loops]
        batches: list[Any] = [next_batch(of_one, None) for of_one in steps]
        last = [batch for batch in batches if batch is not None][:1] * len(steps)
        while any(batch is not None for batch in batches):
            last = [old if new is None else new for old, new in zip(last, batches, strict=True)]
            states, metrics = step(states, stacked(last, layout), keys)
            batches = [
                None if batch is None else next_batch(steps[i], jax.tree.map(lambda a, i=i: a[i], metrics))
                for i, batch in enumerate(batches)
            ]
    return [loop.run for loop in loops]


def stacked(batches: list[Any], layout: Layout) -> Any:
    """Placed batches one above the other, each padded to the history slots, and to the rows, of the largest."""
    rows = isinstance(batches[0], RowsBatch)
    T = max((b.batch if rows else b).mask_BT.shape[1] for b in batches)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(_padded(b, T, batches, layout) for b in batches))


def _padded(batch: Any, T: int, batches: list[Any], layout: Layout) -> Any:
    if isinstance(batch, RowsBatch):
        row_R = {}
        for name, row in batch.row_R.items():
            missing = max(len(b.row_R[name]) for b in batches) - len(row)
            beyond = layout.schema.table(name).size + len(row)
            row_R[name] = np.concatenate([row, np.arange(beyond, beyond + missing, dtype=np.int32)])
        return RowsBatch(_padded(batch.batch, T, batches, layout), row_R)

    def pad(array: Any) -> Any:
        return jnp.pad(array, ((0, 0), (0, T - array.shape[1])))

    longer = {name: None if (tree := getattr(batch, name)) is None else jax.tree.map(pad, tree)
              for name in ("history", "mask_BT", "negative", "hist_label_BT", "channel_BT")}  # fmt: skip
    return replace(batch, **longer)
