"""A small DIEN trained on a log with sets, numbers, buckets and hashed items, and evaluated."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dienjax import DataConfig, evaluate, fit_store, prepare

ROLES = {
    "user": "user", "item": "item", "time": "time", "attributes": ["tags|"], "numbers": ["price:log", "dwell:4"],
    "user_attributes": ["likes"], "user_numbers": ["age"], "hash": {"item": 50},
}  # fmt: skip


def log(users=300, events=7):
    """Each user likes two of eight tags, and takes items that have one of them."""
    rng = np.random.default_rng(0)
    tags = np.array([rng.permutation(8)[:2] for _ in range(200)])
    rows = []
    for user in range(users):
        likes = rng.permutation(8)[:2]
        items = rng.permutation(np.flatnonzero(np.isin(tags, likes).any(axis=1)))[:events]
        for time, item in enumerate(items):
            rows.append((user, item, time, "|".join(f"t{tag}" for tag in tags[item]), [int(tag) for tag in likes]))
    frame = pd.DataFrame(rows, columns=["user", "item", "time", "tags", "likes"])
    frame["price"] = np.where(rng.random(len(frame)) < 0.2, np.nan, rng.lognormal(3, 1, len(frame)))
    return frame.assign(dwell=rng.exponential(size=len(frame)), age=frame["user"] % 50 + 18.0)


@pytest.mark.parametrize("rows", ["dense", "lazy"])
def test_a_dien_learns_from_tags(rows, config, tmp_path):
    store = prepare(log(), tmp_path / "store", **ROLES, test_fraction=0.3, valid_fraction=0.1)
    config = replace(
        config,
        data=DataConfig(train="train_all", batch_size=64, lengths=(8,)),
        optimizer=replace(config.optimizer, rows=rows, learning_rate=0.01),
        fit=replace(config.fit, epochs=4),
    )
    run = fit_store(config, store, tmp_path / "run", progress=False)
    assert run.schema.hash == store.schema.hash
    found = evaluate(run, store)
    assert found["auc"] > 0.6 and np.isfinite(found["logloss"]), found
