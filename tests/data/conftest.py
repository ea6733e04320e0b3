"""A small random log, and the stores that it becomes."""

import numpy as np
import pandas as pd
import pytest

from dienjax.data.prepare import prepare


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
