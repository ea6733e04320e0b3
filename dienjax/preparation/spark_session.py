"""A Spark session to sort with, tasks in it, and errors that say what to do where it cannot start or fails."""

import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

FULL = ("No space left on device", "File too large", "Disk quota exceeded")


@contextmanager
def session() -> Iterator[Any]:
    """The session that is active; or else a new one, with the settings that Spark finds, that is stopped at the end.

    Raises:
      ImportError: PySpark is not installed.
      OSError: Spark failed because a disk is full.
      RuntimeError: there is no Java, or Spark cannot start, or it fails.
    """
    try:
        from py4j.protocol import Py4JError
        from pyspark import SparkContext
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise ImportError("engine='spark' needs PySpark: pip install 'dienjax[spark]'") from error
    # The active session is that of the thread; another thread may have started Spark.
    running = SparkSession.getActiveSession() is not None or SparkContext._active_spark_context is not None
    spark = SparkSession.builder.getOrCreate() if running else _started(SparkSession)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas")  # no pandas goes through it
            yield spark
    except (PySparkException, Py4JError) as error:
        said = _said(error)
        if any(text in str(error) for text in FULL):
            raise OSError(f"Spark cannot sort the log: {said}") from error
        raise RuntimeError(
            f"engine='spark': Spark failed: {said}; its own log says more. A package that a task does not find: "
            "PYSPARK_PYTHON names a Python where dienjax is installed. A file: the log and the store are on a file "
            "system that all machines share. Memory: give it more (spark.driver.memory, spark.executor.memory)"
        ) from error
    finally:
        if not running:
            spark.stop()


def run(spark: Any, tasks: int, work: Callable[[int], dict]) -> list[dict]:
    """What `work` returns for each of the numbers below `tasks`, each in a task of its own; it must be JSON."""

    def call(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for task in batch.column(0).to_pylist():
                yield pa.RecordBatch.from_pydict({"task": [task], "result": [json.dumps(work(task))]})

    found = spark.range(0, tasks, 1, tasks).mapInArrow(call, "task long, result string").collect()
    return [json.loads(row.result) for row in sorted(found, key=lambda row: row.task)]


def _started(builder: Any) -> Any:
    _check_java()
    try:
        # A bar on the terminal would be in the way of other output; all else is for the user to set.
        spark = builder.builder.appName("dienjax").config("spark.ui.showConsoleProgress", "false").getOrCreate()
    except Exception as error:  # of many types, for wrong settings, an unreachable cluster, an old Java
        raise RuntimeError(
            f"engine='spark': Spark cannot start: {_said(error)}. It needs Java 17 or newer, a master that can be "
            "reached and settings that it knows: look at what it printed above, at JAVA_HOME, SPARK_CONF_DIR and "
            "PYSPARK_SUBMIT_ARGS; or use engine='duckdb', which gives the same store"
        ) from error
    context = spark.sparkContext
    context.setLogLevel("ERROR")
    if context.master.startswith("local") and "PYSPARK_PYTHON" not in os.environ:
        context.pythonExec = sys.executable  # where dienjax is installed
    return spark


def _check_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if home and not (Path(home) / "bin" / "java").is_file():
        raise RuntimeError(
            f"engine='spark' needs Java, and JAVA_HOME is {home!r}, which has no bin/java: set it to the folder of a "
            "Java 17 or newer, or unset it where java is on the PATH"
        )
    if not home and not shutil.which("java"):
        raise RuntimeError(
            "engine='spark' needs Java, and there is no java on the PATH, nor a JAVA_HOME: install a Java 17 or newer "
            "(Debian: apt install openjdk-17-jre-headless), or use engine='duckdb', which gives the same store"
        )


def _said(error: Exception) -> str:
    """The line of an error that says most: the last of a Python task's traceback, or the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    of_python = [line for line in lines if line.split(":")[0].endswith(("Error", "Exception")) and ": " in line]
    return (of_python or lines or [type(error).__name__])[0]
