"""Fixtures for every test file; `builders.py` holds what they are made of, for tests that need it at import.

Broadcasting between ranks raises in the whole suite: an axis added by accident is a bug that shapes alone do not show.
"""

import os

import jax
import numpy as np
import pandas as pd
import pytest

import builders
from dienjax import Config, DataConfig, FitConfig, ModelConfig, fit_store, prepare
from dienjax.data.drift import DriftWorld

pytest_plugins = ["campaign_table"]

# XLA reads its flags when it first computes. Nearly all of the suite's time goes to compiling small programs, which
# these halve; what is trained for longer runs in a process of its own with builders.FAST_COMPILATION.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} {builders.FAST_COMPILATION} --xla_backend_optimization_level=0"
)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """What one test has compiled, another (also in a process of its own) need not."""
    with pytest.MonkeyPatch.context() as patch:
        folder = str(tmp_path_factory.mktemp("xla"))
        patch.setenv("JAX_COMPILATION_CACHE_DIR", folder)
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        yield


@pytest.fixture
def schema():
    """Two behaviours (item, category: E = 5), and a sparse and a dense feature on either side."""
    return builders.SCHEMA


@pytest.fixture
def batch():
    """Six numpy rows, T = 4, K = 3: histories of 0 to 4 behaviours, padded candidates, a last row that only fills."""
    return builders.make_batch()


@pytest.fixture(scope="session")
def drift_store(tmp_path_factory):
    """An event store of 200 users of a small drifting world, protocol last: a log that training learns from."""
    log = DriftWorld(users=200, events_min=2, events_max=9, categories=6, items=60).log()
    return prepare(
        log, tmp_path_factory.mktemp("drift") / "store", user="user", item="item", time="time", attributes=["category"],
        test_fraction=0.2, valid_fraction=0.2,
    )  # fmt: skip


@pytest.fixture(scope="session")
def config():
    """A small DIEN with dropout, Dice and batch norm, so that an inexact resume shows: 10 steps an epoch."""
    return Config(
        ModelConfig("DIEN", 4, {"attention_hidden": (8,), "tower": (8,), "auxiliary_hidden": (8,), "dropout": 0.1,
                                "batch_norm": True}),
        DataConfig(train="train_all", batch_size=64, lengths=(4,)),
        fit=FitConfig(epochs=2, log_every=3, save_every=4, patience=0),
    )  # fmt: skip


@pytest.fixture(scope="session")
def run(drift_store, config, tmp_path_factory):
    """A finished run on that store. Not to be changed."""
    return fit_store(config, drift_store, tmp_path_factory.mktemp("runs") / "run", progress=False)


@pytest.fixture(scope="session")
def log() -> pd.DataFrame:
    """About 2,600 events of 200 users with 1 to 25 events; few distinct times, so that many are ties."""
    rng = np.random.default_rng(3)
    user = np.repeat(np.arange(200), rng.integers(1, 26, 200))
    item = np.minimum(rng.zipf(1.5, len(user)), 500)
    frame = pd.DataFrame({"user": user, "item": item, "kind": item % 7, "when": rng.integers(0, 6, len(user))})
    frame["age"] = frame["user"] % 5
    frame["liked"] = rng.integers(0, 2, len(user))
    return frame.sample(frac=1, random_state=0, ignore_index=True)


@pytest.fixture(scope="session")
def roles() -> dict:
    """What the columns of the log are."""
    return {"user": "user", "item": "item", "time": "when", "attributes": ["kind"], "user_attributes": ["age"]}


@pytest.fixture(scope="session")
def store(log, roles, tmp_path_factory):
    """Protocol last."""
    return prepare(log, tmp_path_factory.mktemp("last") / "store", **roles, hist_label="liked", test_fraction=0.2)


@pytest.fixture(scope="session")
def store_all(log, roles, tmp_path_factory):
    """Protocol all."""
    return prepare(log, tmp_path_factory.mktemp("all") / "store", **roles, protocol="all", user_id=True)
