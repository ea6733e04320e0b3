"""Steps on virtual devices against steps on one, in a process of its own: prints what each case differs by, as JSON."""

import itertools
import json
import sys

import jax
import numpy as np

from dienjax.batch import Batch
from dienjax.models import DIEN, DIN
from dienjax.schema import Behaviour, Dense, Schema, Sparse, Table
from dienjax.training import microbatches
from dienjax.training.divided import divide, make_divided_eval_step, make_divided_train_step
from dienjax.training.layout import Layout
from dienjax.training.lazy_rows import make_lazy_train_step, renumber
from dienjax.training.losses import LossConfig
from dienjax.training.optimizers import OptimizerConfig, make_optimizer
from dienjax.training.step import init_state, make_eval_step, make_train_step
from experiments.collectives import collectives

# 61 rows: no number of devices but 1 divides them. Fewer than devices: a table that is not spread.
SCHEMA = Schema(
    tables=(Table("item", 61, 3), Table("category", 6, 2)),
    behaviours=(Behaviour("item"), Behaviour("category")),
    sparse=(Sparse("liked", "item"), Sparse("shelf", "category", of="candidate")),
    dense=(Dense("age"), Dense("price", of="candidate")),
)
RELU = {"attention_activation": "relu", "tower_activation": "relu"}
SMALL = {"attention_hidden": (4,), "tower": (4,), "dropout": 0.3, "batch_norm": True}
MODELS = {"DIN": DIN(SCHEMA, **SMALL)} | {
    kind: DIEN(SCHEMA, kind=kind, auxiliary_hidden=(4,), **SMALL) for kind in ("GRU", "AIGRU", "AGRU", "AUGRU")
}
MODELS["minAUGRU"] = DIEN(SCHEMA, kind="minAUGRU", extractor="minGRU", auxiliary_hidden=(4,), **SMALL)
# Without statistics of the batch: seen in microbatches of one history.
MODELS["microbatches"] = DIEN(
    SCHEMA,
    auxiliary_hidden=(4,),
    **SMALL | RELU | {"batch_norm": False},
)
microbatches.LEAST, microbatches.CACHED = 1, 8
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


def layout_of(tables):
    return Layout(SCHEMA, tuple(jax.devices()), tables, small=8)


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
    """The largest difference of two trees, relative to the largest number of each array; padding rows must rest."""
    worst = 0.0
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if a.shape != b.shape:
            assert not np.ptp(b[len(a) :]), "a row beyond the table has changed"
            b = b[: len(a)]
        worst = max(worst, float(np.abs(a - b).max() / max(1.0, np.abs(a).max())))
    return worst


def compare(names, rules, optimizer, steps):
    """By case, what the state, the metrics and the logits after some steps differ by."""
    made, found = batches(int(steps)), {}
    tx = make_optimizer(OptimizerConfig(optimizer, learning_rate=0.05, clip_norm=1.0), 1, 1)
    for name, rows in itertools.product(names, ("lazy", "dense")):
        one = on_one(MODELS[name], tx, rows, made)
        for tables in rules:
            other = on_all(MODELS[name], tx, rows, made, layout_of(tables))
            found[f"{name} {rows} {tables}"] = difference(one, other)
    return found


def crossing(names, rules):
    """By case, what crosses devices in the compiled step: [kind, bytes, in a loop]; and the bytes of n·R rows."""
    batch, found = batches(1, T=6)[0], {}
    tx = make_optimizer(OptimizerConfig("adam"), 1, 1)
    for name, rows, tables in itertools.product(names, ("lazy", "dense"), rules):
        layout = layout_of(tables)
        step = make_divided_train_step(MODELS[name], tx, LOSS, 0.1, layout, lazy=rows == "lazy")
        placed = layout.put(divide(batch, layout))
        abstract = Batch.abstract(SCHEMA, 1, 2, 1, negatives=True)
        state = init_state(MODELS[name], tx, abstract, jax.random.key(0), layout)
        program = step.lower(state, placed, KEY).compile().as_text()
        assert " while(" in program
        rows_bytes = max(len(placed.row_R[t.name]) * t.dim * 4 for t in SCHEMA.tables)
        crossed = [(c.kind, c.bytes, c.in_loop) for c in collectives(program)]
        found[f"{name} {rows} {tables}"] = {"crossed": crossed, "rows": rows_bytes}
    return found


def starts(names, rules):
    """By model, what the first state differs by."""
    tx, found = make_optimizer(OptimizerConfig("rowwise_adagrad"), 1, 1), {}
    abstract = Batch.abstract(SCHEMA, 1, 2, 1, negatives=True)
    for name in names:
        one, other = (
            init_state(MODELS[name], tx, abstract, jax.random.key(0), of) for of in (None, layout_of(rules[0]))
        )
        held = {str(shard.data.shape) for shard in other.params["embedder"]["item"].addressable_shards}
        found[name] = {"difference": difference(one.params, other.params), "held": sorted(held)}
    return found


if __name__ == "__main__":
    command, names, rules, *rest = sys.argv[1:]
    run = {"steps": compare, "crossing": crossing, "starts": starts}[command]
    print(json.dumps(run(names.split(","), rules.split(","), *rest)))
