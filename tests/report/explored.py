"""Runs with random weights on small stores: every kind of model, without training one."""

import jax
import numpy as np
import pandas as pd

import builders
from dienjax.preparation.prepare import prepare
from dienjax.training import checkpoint
from dienjax.training.config import Config
from dienjax.training.run import Run

SMALL = {"attention_hidden": [4], "tower": [5]}
DIEN = {"name": "DIEN", **SMALL, "auxiliary_hidden": [4]}
SEPARATE = {"name": "DIEN", **SMALL, "fields": "separate", "auxiliary": "inner"}
MODELS = {
    "din": {"name": "DIN", **SMALL},
    **{kind: {**DIEN, "kind": kind} for kind in ("GRU", "AIGRU", "AGRU", "AUGRU", "minAUGRU")},
    "author": {**DIEN, "gate": "author", "extractor": "minGRU"},
    "separate": {**SEPARATE, "kind": "AUGRU"},
    "alpha 0": DIEN,
}
GATED = ["AIGRU", "AGRU", "AUGRU", "minAUGRU", "author", "separate", "alpha 0"]
JUDGING = ["GRU", "AIGRU", "AGRU", "AUGRU", "minAUGRU", "author", "separate"]
"""Those whose recurrence ends in the interest; and those that know what comes next."""


def random_run(store, folder, name="AUGRU", task="binary", **data):
    """A run of a model in MODELS whose weights are random, so that each of them counts."""
    loss = {"task": task, "alpha": 0.0 if name == "alpha 0" else 1.0}
    data = {"batch_size": 32, "max_len": 8, "lengths": 2, **data}
    config = Config.from_dict({"model": {"dim": 3, **MODELS[name]}, "loss": loss, "data": data})
    run = Run.create(folder / name.replace(" ", ""), config, store.schema, store)
    state = jax.eval_shape(lambda: run.initial_state(run.optimizer()))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state)
    checkpoint.save(run.path, "last", zeros.replace(params=builders.randomised(state.params)), {})
    return run


def impressions_store(folder, label="click"):
    """Impressions of 1 to 25 candidates with a context and a number; histories of 0 to 11 events, one of them unknown.

    Users are "u0" to "u11"; u0 has no history, and u1 one event.
    """
    rng = np.random.default_rng(5)
    count = [0, 1, *range(2, 12)]
    user = [f"u{u}" for u, n in enumerate(count) for _ in range(n)]
    events = pd.DataFrame({"user": user, "item": rng.integers(0, 30, len(user)), "time": np.arange(len(user))})
    rows = []
    for u in range(12):
        for at in (1000, 2000, 2000 + u):
            chosen = rng.choice(40, rng.integers(1, 26), replace=False)
            rows += [{"user": f"u{u}", "item": i, "time": at, "place": i % 3, "price": i / 7} for i in chosen]
    shown = pd.DataFrame(rows).drop_duplicates(["user", "item", "time"])
    shown["click"] = rng.integers(0, 2, len(shown))
    shown["stars"] = rng.normal(size=len(shown))
    for frame in (events, shown):
        frame["kind"] = "kind " + (frame["item"] % 4).astype(str)
        frame["maker"] = frame["item"] % 5
    shown["city"] = shown["user"].str[-1]
    return prepare(
        events, folder / "store", user="user", item="item", time="time", attributes=["maker", "kind"],
        user_attributes=["city"], impressions=shown, label=label, context=["place"], dense=["price"], test_fraction=0.6,
        valid_fraction=0.1,
    )  # fmt: skip
