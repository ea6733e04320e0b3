"""What Spark calls: the function on record batches, without Spark; and in the workers of a local cluster (slow)."""

import os
import pickle
import re
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_table import rows

import test_readme
from dienjax.serving import Ranker
from dienjax.serving.spark import scored_schema, scores

WATCH = """
import sys
def loaded(batches):
    for batch in scores("exported")(batches):
        yield pa.RecordBatch.from_pydict({"name": sorted(sys.modules)})
import pyarrow as pa
names = {row.name for row in rows.mapInArrow(loaded, "name string").collect()}
print("onnxruntime" in names, names & {"jax", "jaxlib", "flax"})
try:
    worse = rows.replace("Bonn", "Ulm").withColumn("price", rows.item)
    worse.mapInArrow(scores("exported"), scored_schema(worse.schema, "exported")).count()
except Exception as error:
    print(error)
"""


@pytest.fixture(scope="module")
def table():
    return pa.Table.from_pylist(rows(50, 3))


def test_batches_come_back_with_their_scores(exported, table):
    want = Ranker(exported).score_table(table)
    got = list(scores(exported)(iter(table.to_batches(max_chunksize=7))))
    assert [len(batch) for batch in got] == [7] * 7 + [1]
    scored = pa.Table.from_batches(got)
    assert scored.column_names == [*table.column_names, "probability"]
    assert scored.drop_columns("probability").equals(table)
    np.testing.assert_allclose(
        np.concatenate(scored["probability"].to_pylist()), np.concatenate(want.to_pylist()), atol=1e-6
    )


def test_a_column_of_that_name_is_replaced(exported, table):
    first = table.add_column(0, "probability", pa.array(["old"] * len(table)))
    (batch,) = scores(exported)(first.combine_chunks().to_batches())
    assert batch.schema.names == [*table.column_names, "probability"]
    assert batch.schema.field("probability").type == pa.list_(pa.float32())


def test_no_batches_and_empty_ones(exported, table):
    assert list(scores(exported)(iter([]))) == []
    assert sum(map(len, scores(exported)(table[:0].combine_chunks().to_batches()))) == 0


def test_an_error_names_the_row_of_the_partition(exported, table):
    bad = table.slice(30, 5).set_column(table.column_names.index("age"), "age", pa.array([1.0, None, 1, 1, 1]))
    batches = [*table.slice(0, 30).combine_chunks().to_batches(), *bad.combine_chunks().to_batches()]
    with pytest.raises(ValueError, match=r"^mapInArrow, a partition: row 31 of column 'age' is None"):
        list(scores(exported)(batches))


def test_an_export_that_is_none_is_refused_before_the_job(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"export\.json is missing"):
        scores(tmp_path)


def test_a_worker_opens_the_export_once_and_again_when_it_changed(tiny, table, tmp_path, monkeypatch):
    opened = []

    class Counted(Ranker):
        def __init__(self, folder, **options):
            opened.append(folder)
            super().__init__(folder, **options)

    monkeypatch.setattr("dienjax.serving.spark.Ranker", Counted)
    folder = tiny.write(tmp_path / "export")
    function = scores(folder)
    first, *_ = [list(function(table.to_batches())) for _ in range(3)]
    assert len(opened) == 1 and opened[0] == str(folder)
    shutil.rmtree(folder)
    tiny.write(folder, max_len=1)
    assert list(function(table.to_batches())) != first and len(opened) == 2


def test_it_is_sent_by_name_and_loads_no_jax(exported, table, tmp_path):
    """A fresh process, as a worker is one: the function works there, and has loaded nothing of JAX or Spark."""
    (tmp_path / "function").write_bytes(pickle.dumps(scores(exported)))
    pq.write_table(table, tmp_path / "rows")
    code = (
        "import pickle, sys, pyarrow.parquet as pq\n"
        "function = pickle.load(open('function', 'rb'))\n"
        "print(sum(map(len, function(pq.read_table('rows').to_batches()))))\n"
        "print({'jax', 'jaxlib', 'flax', 'pyspark'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["50", "set()"], done.stderr


@pytest.mark.slow
def test_in_a_local_cluster(exported, table, tmp_path):
    """The guide's example as it stands, in two workers of Spark; what they have loaded; how a bad row fails."""
    pytest.importorskip("pyspark", minversion="4.0", reason="needs pyspark: pip install '.[spark]'")
    if not shutil.which("java"):
        pytest.skip("needs Java 17 or newer")
    (tmp_path / "rows").mkdir()
    for part in range(2):
        pq.write_table(table.slice(25 * part, 25), tmp_path / f"rows/{part}.parquet")
    shutil.copytree(exported, tmp_path / "exported")
    examples = re.findall(r"```py\n(.*?)```", test_readme.TEXTS["dienjax/serving"], re.DOTALL)
    (example,) = (text for text in examples if "pyspark" in text)
    environment = os.environ | {
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_SUBMIT_ARGS": "--master local[2] --conf spark.ui.enabled=false pyspark-shell",
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    command = [sys.executable, "-c", example + WATCH]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "True set()"
    assert re.search(r"mapInArrow, a partition: .*row 0 of column 'price' is .* expected a number", done.stdout)
    got = pq.read_table(tmp_path / "scored")
    assert got.column_names == [*table.column_names, "probability"]
    scored = {key(row): row["probability"] for row in got.to_pylist()}
    want = Ranker(exported).score_table(table).to_pylist()
    assert len(scored) == len(table)
    for row, expected in zip(table.to_pylist(), want, strict=True):
        np.testing.assert_allclose(scored[key(row)], expected, atol=1e-6)


def key(row):
    return row["age"], row["hist_age"]


def test_the_schema_of_the_result(exported):
    types = pytest.importorskip("pyspark.sql.types", reason="needs pyspark: pip install '.[spark]'")
    words = types.ArrayType(types.StringType())
    names = ("hist_item", "hist_category", "item", "category", "slot", "price", "city", "favourite", "age", "hist_age")
    schema = types.StructType([types.StructField(name, words) for name in ("probability", *names)])
    got = scored_schema(schema, exported)
    assert got.names == [*names, "probability"]
    assert got["probability"].dataType == types.ArrayType(types.FloatType())
    schema["item"].dataType = types.StringType()
    assert scored_schema(schema, exported)["probability"].dataType == types.FloatType()
    with pytest.raises(ValueError, match=r"^scored_schema: column 'age' is missing"):
        scored_schema(types.StructType([f for f in schema if f.name != "age"]), exported)
