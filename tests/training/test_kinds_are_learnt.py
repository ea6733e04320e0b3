"""A small DIEN trained on a log with sets, numbers, buckets and hashed items, and evaluated."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa

from dienjax import DataConfig, evaluate, fit_store, predict, prepare
from dienjax.serving.encoding import EncodeSets, encoders

ROLES = {
    "user": "user", "item": "item", "time": "time", "attributes": ["tags|"], "numbers": ["price:log", "dwell:4"],
    "user_attributes": ["likes"], "user_numbers": ["age"], "hash": {"item": 50},
}  # fmt: skip


def log(users=400, events=7):
    """Each user likes one of six tags, which all of their items have, beside another."""
    rng = np.random.default_rng(0)
    tags = np.stack([np.arange(240) % 6, (np.arange(240) % 6 + rng.integers(1, 6, 240)) % 6], axis=1)
    user = np.repeat(np.arange(users), events)
    item = rng.integers(0, 40, len(user)) * 6 + user % 6
    frame = pd.DataFrame({"user": user, "item": item, "time": np.tile(np.arange(events), users)})
    frame["tags"] = [f"t{b}|t{a}" if i % 2 else f"t{a}| t{b}" for i, (a, b) in zip(item, tags[item], strict=True)]
    frame["likes"] = pd.Series([[f"t{u % 6}", None] for u in user.tolist()])
    frame["price"] = np.where(rng.random(len(user)) < 0.2, np.nan, rng.lognormal(3, 1, len(user)))
    return frame.assign(dwell=rng.exponential(size=len(user)), age=user % 50 + 18.0)


def test_a_dien_learns_from_tags(config, tmp_path):
    store = prepare(log(), tmp_path / "store", **ROLES, test_fraction=0.3, valid_fraction=0.1)
    config = replace(
        config,
        data=DataConfig(train="train_all", batch_size=64, lengths=(8,)),
        optimizer=replace(config.optimizer, learning_rate=0.01),
        fit=replace(config.fit, epochs=4),
    )
    run = fit_store(config, store, tmp_path / "run", progress=False)
    assert run.schema.hash == store.schema.hash
    found = evaluate(run, store)
    assert found["auc"] > 0.7 and np.isfinite(found["logloss"]), found

    rows = pd.DataFrame({
        "hist_item": [[0, 7], []], "hist_tags": [["t1 |t0", "t3|"], []], "item": [12, 13], "tags": ["t0| t4", None],
        "likes": [["t0"], []], "age": [20.0, 30.0], "hist_price": [[1.0, None], []], "price": [2.0, None],
        "hist_dwell": [[0.5, 1.0], []], "dwell": [0.1, 2.0],
    })  # fmt: skip
    lists = rows.assign(hist_tags=[[["t1", "t0"], ["t3"]], []], tags=[["t0", "t4"], None])
    text = predict(run, rows)["probability"]
    np.testing.assert_array_equal(text, predict(run, lists)["probability"])
    as_arrow = pa.Table.from_pandas(rows)
    np.testing.assert_array_equal(text, predict(run, as_arrow.to_pandas(types_mapper=pd.ArrowDtype))["probability"])

    encode = encoders(run.schema, lambda table: run.vocabulary(table)["value"].tolist(), np.dtype(np.int32))["tags"]
    assert isinstance(encode, EncodeSets)
    texts, same = ["t1|t0", "", None, ["t3"]], [["t1", "t0"], [], [], ["t3"]]
    np.testing.assert_array_equal(encode(str, texts), encode(str, same))
