"""Steps on virtual devices against steps on one, in a process of its own: prints what each case differs by, as JSON."""

import itertools
import json
import sys

import jax
import numpy as np

from dienjax.batch import Batch
from dienjax.models import DIEN, DIN
from dienjax.schema import Behaviour, Dense, Schema, Sparse, Table
from dienjax.training.divided import divide, make_divided_eval_step, make_divided_train_step
from dienjax.training.layout import Layout
from dienjax.training.lazy_rows import make_lazy_train_step, renumber
from dienjax.training.losses import LossConfig
from dienjax.training.optimizers import OptimizerConfig, make_optimizer
from dienjax.training.step import init_state, make_eval_step, make_train_step

# 61 rows: no number of devices but 1 divides them. Fewer than devices: a table that is not spread.
SCHEMA = Schema(
    tables=(Table("item", 61, 3), Table("category", 6, 2)),
    behaviours=(Behaviour("item"), Behaviour("category")),
    sparse=(Sparse("liked", "item"), Sparse("shelf", "category", of="candidate")),
    dense=(Dense("age"), Dense("price", of="candidate")),
)
SMALL = {"attention_hidden": (4,), "tower": (4,), "dropout": 0.3, "batch_norm": True}
MODELS = {"DIN": DIN(SCHEMA, **SMALL)} | {
    kind: DIEN(SCHEMA, kind=kind, auxiliary_hidden=(4,), **SMALL) for kind in ("GRU", "AIGRU", "AGRU", "AUGRU")
}
LOSS = LossConfig(l2_tower=0.1, l2_embedding=0.01)
KEY = jax.random.key(3)


def batches(n, B=16, T=4, K=2):
    """Ragged histories, empty ones too; the third batch has real rows on the first devices alone, the fourth none."""
    rng, sizes = np.random.default_rng(0), SCHEMA.sizes()

    def draw(path, x):
        if x.dtype == np.int32:
            return rng.integers(0, sizes[path[-1].key], x.shape, np.int32)
        return rng.random(x.shape).astype(x.dtype)

    made = []
    for i in range(n):
        batch = jax.tree.map_with_path(draw, Batch.abstract(SCHEMA, B, T, K, negatives=True))
        real_B = np.arange(B) < {2: 5, 3: 0}.get(i, B)
        mask_BT = (np.arange(T) < rng.integers(0, T + 1, (B, 1))) & real_B[:, None]
        mask_BK = np.broadcast_to(real_B[:, None], (B, K)).copy()
        made.append(batch.replace(mask_BT=mask_BT, mask_BK=mask_BK, label_BK=np.round(batch.label_BK)))
    return made


def on_one(model, tx, rows, made):
    abstract = Batch.abstract(SCHEMA, 1, 2, 1, negatives=True)
    state, metrics = init_state(model, tx, abstract, jax.random.key(0)), []
    step = (make_lazy_train_step if rows == "lazy" else make_train_step)(model, tx, LOSS, 0.1)
    for batch in made:
        state, of_step = step(state, renumber(batch, SCHEMA) if rows == "lazy" else batch, KEY)
        metrics.append(of_step)
    return state, metrics, make_eval_step(model)(state.variables, made[0])


def on_all(model, tx, rows, made, layout):
    abstract = Batch.abstract(SCHEMA, 1, 2, 1, negatives=True)
    state, metrics = init_state(model, tx, abstract, jax.random.key(0), layout), []
    step = make_divided_train_step(model, tx, LOSS, 0.1, layout, lazy=rows == "lazy")
    for batch in made:
        state, of_step = step(state, layout.put(divide(batch, layout)), KEY)
        metrics.append(of_step)
    logits = make_divided_eval_step(model, layout)(state.variables, layout.put(divide(made[0], layout)))
    return state, metrics, logits


def difference(one, other):
    """The largest difference of two trees, relative to the largest number of each array; padding rows must be 0."""
    worst = 0.0
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if a.shape != b.shape:
            assert not b[len(a) :].any(), "a row beyond the table has changed"
            b = b[: len(a)]
        worst = max(worst, float(np.abs(a - b).max() / max(1.0, np.abs(a).max())))
    return worst


def main(names, optimizer, steps):
    made, found = batches(steps), {}
    tx = make_optimizer(OptimizerConfig(optimizer, learning_rate=0.05, clip_norm=1.0), 1, 1)
    for name, rows in itertools.product(names, ("lazy", "dense")):
        model = MODELS[name]
        if jax.config.jax_enable_x64:
            model = model.clone()
        one = on_one(model, tx, rows, made)
        for tables in ("replicated", "rows"):
            layout = Layout(SCHEMA, tuple(jax.devices()), tables, small=8)
            found[f"{name} {rows} {tables}"] = difference(one, on_all(model, tx, rows, made, layout))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1].split(","), sys.argv[2], int(sys.argv[3]))
