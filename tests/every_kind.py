"""A small log with every kind of field that preparation knows, and its store."""

import numpy as np
import pandas as pd
import pyarrow as pa

from dienjax.preparation.prepare import prepare


def some(rng, values, most):
    """Some of the values, perhaps none of them, one of them twice, and one that is missing."""
    drawn = rng.choice(values, rng.integers(0, most + 1)).tolist()
    return [*drawn, None, *drawn[:1]] if rng.random() < 0.3 else drawn


def maybe(rng, value):
    return None if rng.random() < 0.2 else float(value)


def events(rng, size):
    """Values of every kind, item by item."""
    return {
        "item": [f"i{i}" for i in rng.integers(0, 30, size)],
        "tags": [some(rng, ["red", "green", "blue", "dark"], 4) for _ in range(size)],
        "site": [None if rng.random() < 0.1 else int(i) for i in rng.integers(0, 50, size)],
        "price": [maybe(rng, x) for x in rng.lognormal(size=size)],
        "dwell": rng.normal(size=size).round(3).tolist(),
        "stars": [maybe(rng, x) for x in rng.integers(1, 6, size)],
    }


def logs():
    """400 events of 40 users and 240 impressions, in which some of everything is missing, empty or given twice."""
    rng = np.random.default_rng(0)
    U, E, C = 40, 400, 240
    hobbies = [some(rng, [1, 2, 3], 3) for _ in range(U)]
    age = [maybe(rng, x) for x in rng.integers(20, 60, U)]
    user_E = rng.integers(0, U, E)
    log = pd.DataFrame({"user": user_E, "time": np.arange(E)} | events(rng, E))
    log["hobbies"], log["age"] = [hobbies[u] for u in user_E], [age[u] for u in user_E]
    user_C = np.repeat(rng.integers(0, U, C // 3), 3)
    shown = pd.DataFrame({"user": user_C, "time": np.repeat(np.sort(rng.integers(0, E, C // 3)), 3)} | events(rng, C))
    shown["places"] = [some(rng, ["top", "side"], 2) for _ in range(C)]
    shown["rank"], shown["chance"] = rng.normal(size=C), [maybe(rng, x) for x in rng.random(C)]
    shown["click"] = rng.integers(0, 2, C)
    return log, shown


def prepared(folder, log, shown):
    """The store of the logs, in which sets are cut, and values of the test users unknown."""
    return prepare(
        pa.Table.from_pandas(log), folder / "store", user="user", item="item", time="time",
        attributes=["tags", "site"], user_attributes=["hobbies"], numbers=["price:log", "dwell:raw", "stars:3"],
        user_numbers=["age:standard"], impressions=pa.Table.from_pandas(shown), label="click", context=["places"],
        dense=["rank", "chance:standard"], hash={"site": 20}, pool={"tags": "max", "hobbies": "sum"},
        protocol="user", test_fraction=0.5, set_quantile=0.6,
    )  # fmt: skip
