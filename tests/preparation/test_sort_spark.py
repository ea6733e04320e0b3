"""Spark gives the bytes of the other engines; what keeps it from starting is said before anything is written."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from test_kernel import KINDS, ROLES, given, random_logs

from dienjax.preparation.prepare import prepare
from dienjax.storage.manifest import read_manifest

SMALL = {"user": "user", "item": "item", "time": "time"}
needs_pyspark = pytest.mark.skipif(not find_spec("pyspark"), reason="pyspark is not installed: pip install '.[spark]'")
needs_java = pytest.mark.skipif(not shutil.which("java"), reason="there is no java on the PATH")


@pytest.fixture(scope="session")
def spark():
    """A session of two cores that partitions as it is told."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("PYTHONWARNINGS", "ignore::FutureWarning")
        from pyspark.sql import SparkSession

        builder = SparkSession.builder.master("local[2]")
        for name, value in {
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.sql.adaptive.coalescePartitions.enabled": "false",
        }.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("ERROR")
        yield session
        session.stop()


@pytest.mark.slow
@needs_pyspark
@needs_java
@pytest.mark.parametrize(
    ("form", "protocol", "partitions"), [("parquet", "all", 1), ("csv", "time", 7), ("frame", "time", 2)]
)
def test_spark_gives_the_bytes_of_the_other_engines(form, protocol, partitions, spark, tmp_path):
    spark.conf.set("spark.sql.shuffle.partitions", partitions)
    events, impressions = random_logs(5)
    events.loc[3, "kind"] = None
    roles = ROLES | KINDS | {"protocol": protocol, "hist_label": "item >= 4", "user_id": True}
    if protocol == "time":
        roles |= {"label": "click", "context": ["place"], "dense": ["price:4"]}
        roles["impressions"] = given(impressions, form, tmp_path / "shown")
    log = given(events, form, tmp_path / "events")
    out = {"memory": "memory", "duckdb": "duckdb", "spark": "s [1] {a,b}*?% #ü"}
    stores = [prepare(log, tmp_path / name, **roles, engine=engine) for engine, name in out.items()]
    manifests = [read_manifest(store.path) for store in stores]
    assert manifests[0] == manifests[1] == manifests[2] and len(manifests[0]) > 14
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.slow
@needs_pyspark
@needs_java
def test_parts_of_files_types_and_ties(spark, tmp_path):
    """Row groups read apart, times that become fractions in a later file, unsigned and missing ids, one large user."""
    spark.conf.set("spark.sql.shuffle.partitions", 3)
    rng, E = np.random.default_rng(0), 3000
    frame = pd.DataFrame({"user": rng.integers(0, 40, E) * (rng.random(E) < 0.5), "item": rng.integers(0, 99, E)})
    frame["time"] = rng.integers(0, 7, E)
    frame["kind"] = pd.array(frame["item"] % 5, "UInt64") + 2**63
    frame["place"] = np.where(frame["item"] % 3 == 0, np.nan, frame["item"] / 2 - 3) * -1
    frame["open"] = frame["item"] % 2 == 0
    for day in range(2):
        (tmp_path / f"log/day={day}").mkdir(parents=True)
        part = frame[day * 2000 : day * 2000 + 2000].astype({"time": float} if day else {})
        part = part.assign(time=part["time"] + day / 2)
        part.to_parquet(tmp_path / f"log/day={day}/a.parquet", index=False, row_group_size=300)
    roles = SMALL | {"attributes": ["kind", "place", "open", "day"], "protocol": "all"}
    memory, ours = (prepare(tmp_path / "log", tmp_path / e, **roles, engine=e) for e in ("memory", "spark"))
    assert read_manifest(memory.path) == read_manifest(ours.path)
    assert memory.time_E.dtype == np.float64 and len(memory.time_E) == E


@pytest.mark.slow
@needs_pyspark
@needs_java
@pytest.mark.parametrize(
    ("files", "changes"),
    [
        (["u,i,t\n1,1,1\n", "u,i,t\n1,1,1\n2,,1\n"], {}),
        (["u,i,t\n1,1,1\n", "u,i,t\n1,1,2026-01-01\n"], {}),
        (["u,i,t\n1,1,9007199254740993\n", "u,i,t\n1,1,1.5\n"], {}),
        (["u,i,t\n1,1,1\n", "u,i,t\n1,2,soon\n"], {}),
        (["u,i,t\n1,1,1\n", "u,i,t\n2,2,2\n"], {"hist_label": "i == 'a'"}),
        (["u,i,t\n1,1,1\n", 'u,i,t\n2,2,2\n3,"3\n'], {}),
        (["u,i,t\n", "u,i,t\n"], {}),
    ],
)
def test_a_wrong_log_is_refused_in_the_same_words(files, changes, spark, tmp_path):
    for n, lines in enumerate(files):
        (tmp_path / f"{n}.csv").write_text(lines)
    said = []
    for engine in ("memory", "spark"):
        with pytest.raises(ValueError, match=r"^prepare: events: ") as error:
            prepare(f"{tmp_path}/?.csv", tmp_path / "s", user="u", item="i", time="t", engine=engine, **changes)
        said.append(str(error.value))
    assert said[0] == said[1]
    assert not list(tmp_path.glob("*s*.tmp")) and not (tmp_path / "s").exists()


@pytest.mark.slow
@needs_pyspark
@needs_java
def test_a_session_of_its_own_is_quiet_and_ends(tmp_path):
    """In a process of its own, with standard output for what the caller prints, and no session left."""
    random_logs(1)[0].to_parquet(tmp_path / "a.parquet")
    code = (
        "import sys; from pyspark.sql import SparkSession; from dienjax.preparation.prepare import prepare\n"
        "prepare(sys.argv[1], sys.argv[2], user='user', item='item', time='time', engine='spark')\n"
        "print(SparkSession.getActiveSession())"
    )
    given = [sys.executable, "-c", code, str(tmp_path / "a.parquet"), str(tmp_path / "s")]
    environment = {name: value for name, value in os.environ.items() if name != "PYSPARK_PYTHON"}
    done = subprocess.run(given, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "None\n"
    assert "FutureWarning" not in done.stderr and "Stage" not in done.stderr


FULL_DISK = """
import os, resource, sys
from dienjax.preparation.prepare import prepare

os.environ["PYSPARK_SUBMIT_ARGS"] = "--master local[1] pyspark-shell"
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    prepare(sys.argv[1], sys.argv[2], user="user", item="item", time="time", engine="spark")
except OSError as error:
    print(error)
"""


@pytest.mark.slow
@needs_pyspark
@needs_java
def test_a_full_disk_leaves_nothing(tmp_path):
    frame = pd.DataFrame({"user": np.arange(90_000) // 3, "item": np.arange(90_000) % 9, "time": 1})
    frame.to_parquet(tmp_path / "a.parquet", index=False)
    given = [sys.executable, "-c", FULL_DISK, str(tmp_path / "a.parquet"), str(tmp_path / "s")]
    done = subprocess.run(given, capture_output=True, text=True, check=True)
    assert "was not written, and nothing is left of it: Spark cannot sort the log: " in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def log():
    return pd.DataFrame({"user": [1, 1, 2, 2], "item": [1, 2, 1, 3], "time": range(4)})


def test_without_pyspark(tmp_path, monkeypatch):
    for name in ("pyspark", "pyspark.errors", "pyspark.sql"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"needs PySpark: pip install 'dienjax\[spark\]'"):
        prepare(log(), tmp_path / "s", **SMALL, engine="spark")
    assert list(tmp_path.iterdir()) == []


@needs_pyspark
@pytest.mark.parametrize(
    ("home", "message"),
    [(None, "no java on the PATH, nor a JAVA_HOME: install a Java 17"), ("nowhere", "nowhere', which has no bin/java")],
)
def test_without_java(home, message, tmp_path, monkeypatch):
    monkeypatch.setattr("pyspark.sql.SparkSession.getActiveSession", lambda: None)
    monkeypatch.setattr("pyspark.SparkContext._active_spark_context", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    if home:
        monkeypatch.setenv("JAVA_HOME", home)
    with pytest.raises(RuntimeError, match=f"engine='spark' needs Java, .*{message}"):
        prepare(log(), tmp_path / "s", **SMALL, engine="spark")
    assert list(tmp_path.iterdir()) == []


@needs_pyspark
def test_a_spark_that_cannot_start(tmp_path):
    """On the command line, in a process without a Java that runs already."""
    java = tmp_path / "java/bin/java"
    java.parent.mkdir(parents=True)
    java.write_text("#!/bin/sh\necho this Java is too old >&2\nexit 1\n")
    java.chmod(0o755)
    log().to_csv(tmp_path / "a.csv", index=False)
    given = ["prepare", "--events", "a.csv", "--out", "s", "--engine", "spark", "--user", "user", "--item", "item"]
    done = subprocess.run(
        [sys.executable, "-m", "dienjax", *given, "--time", "time"],
        cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"JAVA_HOME": str(tmp_path / "java")},
    )  # fmt: skip
    assert done.returncode == 2
    assert re.search(r"^dienjax prepare: engine='spark': Spark cannot start: .*Java 17 or newer", done.stderr, re.M)
    assert "this Java is too old" in done.stderr and "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "java"]
