"""The measurement of large logs, on a small one."""

import json

import numpy as np
import pyarrow.dataset as ds

from experiments import scale


def test_a_generated_log_has_the_events_and_days_that_it_says(tmp_path):
    scale.log(tmp_path / "a", 30_000)
    scale.log(tmp_path / "b", 30_000)
    a, b = (ds.dataset(tmp_path / name, partitioning="hive").to_table() for name in "ab")
    assert a.equals(b) and len(a) == 30_000
    day = a["time"].to_numpy().astype("datetime64[s]").astype("datetime64[D]").astype(str)
    assert (day == a["day"].to_numpy(zero_copy_only=False)).all() and len(set(day)) == scale.DAYS
    count_U = np.unique(a["user"].to_numpy(), return_counts=True)[1]
    assert np.quantile(count_U, 0.05) > 9 and np.quantile(count_U, 0.95) < 115 and 50 < count_U.mean() < 60


def test_preparing_it_is_measured(tmp_path, capsys):
    scale.log(tmp_path / "log", 30_000)
    scale.prepare(engine="memory", log=tmp_path / "log", out=tmp_path / "store")
    row = json.loads(capsys.readouterr().out)
    assert (row["engine"], row["events"], row["users"]) == ("memory", 30_000, 545)
    assert row["cpu_seconds"] > 0 and 0.02 < row["peaks"]["process"]["anonymous_gb"] < 1
