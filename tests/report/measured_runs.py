"""Runs with scores that nobody had to train for, on a store with everything that is awkward."""

import numpy as np
import pandas as pd

from dienjax import Config, LossConfig, ModelConfig, Run, Store, prepare
from dienjax.report.scored import Scored
from dienjax.training.evaluation import Scores, store_split

CONFIG = Config(ModelConfig("DIN", 2, {"tower": (2,), "attention_hidden": (2,)}))


def awkward_store(path, regression=False) -> Store:
    """Impressions with 1 to 60 candidates each, so that some take several rows.

    User 0 has no event, user 1 has one; half of the items are too rare to be known; there are features of all kinds.
    """
    rng = np.random.default_rng(0)
    user = np.concatenate([[1], np.repeat(np.arange(2, 40), rng.integers(1, 9, 38))])
    item = rng.integers(0, 40, len(user))
    events = pd.DataFrame({"user": user, "item": item, "kind": item % 5, "time": rng.permutation(len(user))})
    count = rng.integers(1, 4, 60)
    count[[3, 55]] = 60
    of = np.repeat(np.arange(60), count)
    shown = pd.DataFrame({"user": np.append(rng.integers(0, 40, 57), [0, 1, 0])[of], "time": 1000 + of})
    shown["item"] = rng.integers(0, 40, len(of))
    shown["kind"] = shown["item"] % 5
    shown["slot"], shown["price"] = shown.index % 3, rng.random(len(of))
    shown["city"] = [f"</b>{u % 3}" for u in shown["user"]]
    shown["y"] = rng.normal(size=len(of)) if regression else rng.integers(0, 2, len(of))
    return prepare(
        events, path, user="user", item="item", time="time", attributes=["kind"], impressions=shown, label="y",
        context=["slot"], dense=["price"], user_attributes=["city"], min_count=4, test_fraction=0.7, valid_fraction=0.2,
    )  # fmt: skip


def made_up(store, path, split="test", config=CONFIG, seed=0, logit=None) -> Scored:
    """A run folder without a checkpoint, with random logits or those that a function of the labels [N, K] gives."""
    run = Run.open(path) if path.exists() else Run.create(path, config, store.schema, store)
    dataset = store_split(config, store, split)
    batch = dataset.rows(np.arange(len(dataset.length_N)), 1, 0)
    rng = np.random.default_rng(seed)
    logit_NK = rng.normal(size=batch.label_BK.shape) + batch.label_BK if logit is None else logit(batch.label_BK)
    scores = Scores(logit_NK.astype(np.float32), batch.label_BK, batch.mask_BK, dataset.user_N)
    return Scored.of(run, store, split, dataset, scores)


REGRESSION = Config(CONFIG.model, loss=LossConfig("regression"))
