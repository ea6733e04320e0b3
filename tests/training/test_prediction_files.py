"""Predictions for Parquet files are those of `predict`, whatever the files and the chunks; whole, or not there."""

import os
import resource

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_prediction import raw_rows, table

from builders import randomised
from dienjax import Config, DataConfig, ModelConfig, Run, predict
from dienjax.training import checkpoint
from dienjax.training.prediction_files import MARK, _ahead, predict_file


@pytest.fixture
def small_chunks(monkeypatch):
    """`small_chunks(rows, read)`: chunks of so many rows, of which so many are read at once."""

    def small(rows, read):
        monkeypatch.setattr("dienjax.training.parquet.ROWS", rows)
        monkeypatch.setattr("dienjax.training.parquet.READ_ROWS", read)

    return small


def single(frame):
    return frame.assign(item=frame["item"].str[0], category=frame["category"].str[0])


def flat(values):
    return np.concatenate([np.atleast_1d(value) for value in values])


def close(got, frame, run, **options):
    """The table has the columns of the frame, and what `predict` says of them."""
    want = predict(run, frame, **options)
    assert got.column_names == list(want.columns)
    pd.testing.assert_frame_equal(got.to_pandas()[list(frame.columns)].map(list_of), frame.map(list_of))
    np.testing.assert_allclose(flat(got["probability"].to_pylist()), flat(want["probability"]), atol=1e-6)


def list_of(value):
    return list(value) if isinstance(value, list | np.ndarray) else value


@pytest.mark.parametrize("lists", [True, False])
@pytest.mark.parametrize(("rows", "read"), [(1, 1), (7, 3), (64, 64)])
def test_any_cut_gives_what_the_whole_gives(run, lists, rows, read, small_chunks, tmp_path):
    frame = table(40, 60, 9)
    frame.at[20, "item"], frame.at[20, "category"] = [3] * 300, [0] * 300  # as many as no other row
    frame = frame if lists else single(frame)
    frame.to_parquet(tmp_path / "in.parquet", row_group_size=11)
    small_chunks(rows, read)
    assert predict_file(run, tmp_path / "in.parquet", tmp_path / "out.parquet") == 40
    got = pq.read_table(tmp_path / "out.parquet")
    assert got.schema.field("probability").type == (pa.large_list(pa.float32()) if lists else pa.float32())
    close(got, frame, run)


def test_few_programs_are_compiled_for_any_number_of_chunks(run, compilations, small_chunks, tmp_path):
    small_chunks(16, 16)
    single(table(150, 40, 1)).to_parquet(tmp_path / "in.parquet")
    predict_file(run, tmp_path / "in.parquet", tmp_path / "out.parquet")
    compiled = len(compilations)
    predict_file(run, tmp_path / "in.parquet", tmp_path / "out.parquet", force=True)
    single(table(140, 50, 1)).to_parquet(tmp_path / "other.parquet")
    predict_file(run, tmp_path / "other.parquet", tmp_path / "out.parquet", force=True)
    assert len(compilations) == compiled


@pytest.mark.parametrize("lengths", [1, (4, 9)])
def test_padding_that_takes_part_reaches_to_the_longest_history_of_all(
    run, drift_store, lengths, small_chunks, tmp_path
):
    """Its result depends on T: the longest history stands in another chunk, or in another file."""
    model = ModelConfig("DIN", 4, {"padding": "torch_rechub", "tower": (8,), "attention_hidden": (8,)})
    config = Config(model, DataConfig(batch_size=1, lengths=lengths))
    rechub = Run.create(tmp_path / "run", config, run.schema, drift_store)
    state = rechub.initial_state(rechub.optimizer())
    checkpoint.save(rechub.path, "best", state.replace(params=jax.tree.map(jnp.asarray, randomised(state.params))), {})
    frame = single(table(12, 13, 1)).iloc[::-1]
    (tmp_path / "in").mkdir()
    frame[:5].to_parquet(tmp_path / "in/0.parquet")
    frame[5:].to_parquet(tmp_path / "in/1.parquet")
    small_chunks(4, 2)
    predict_file(rechub, tmp_path / "in", tmp_path / "out")
    want = predict(rechub, frame)["probability"]
    got = [pq.read_table(tmp_path / f"out/{part}.parquet")["probability"].to_pylist() for part in (0, 1)]
    np.testing.assert_allclose(np.concatenate(got), want, atol=1e-6)
    alone = predict(rechub, frame[:5])["probability"]
    assert lengths != 1 or not np.allclose(got[0], alone, atol=1e-5)


def test_columns_stay_as_they_were(run, small_chunks, tmp_path):
    frame = single(table(9, 3, 1))
    frame["day"] = pd.date_range("2024-01-01", periods=9, tz="Europe/Berlin")
    frame["kind"] = pd.Categorical(["x", "y", None] * 3, ordered=True)
    frame["period"] = pd.period_range("2024-01", periods=9, freq="M")
    frame.insert(0, "probability", "old")
    frame.index = pd.Index(range(5, 14), name="row")
    source = pa.Table.from_pandas(frame)
    source = source.replace_schema_metadata({**source.schema.metadata, b"mine": b"kept"})
    source = source.append_column("wide", pa.array([[1, 2]] * 9, pa.list_(pa.int8(), 2)))
    pq.write_table(source, tmp_path / "in.parquet", row_group_size=4)
    small_chunks(3, 2)
    predict_file(run, tmp_path / "in.parquet", tmp_path / "out.parquet")
    got, kept = pq.read_table(tmp_path / "out.parquet"), pq.read_table(tmp_path / "in.parquet")
    kept = kept.drop_columns("probability")
    assert got.column_names == [*kept.column_names, "probability"]
    assert got.drop_columns("probability").to_pylist() == kept.to_pylist()
    assert got.schema.metadata == kept.schema.metadata and got.schema.metadata[b"mine"] == b"kept"
    assert got.drop_columns("probability").schema == kept.schema


def write_folder(folder, frames):
    for name, frame in frames.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(folder / name)


def test_a_folder(run, tmp_path):
    """Files of the same names; what Spark hides is no part; a file without rows stays one; --force replaces its own."""
    frame = single(table(20, 5, 1))
    frames = {"b.parquet": frame[:7], "a/c.pq": frame[7:], "a/empty.parquet": frame[:0]}
    write_folder(tmp_path / "in", frames | {"_hidden/d.parquet": frame, ".e.parquet": frame, "_f.parquet": frame})
    (tmp_path / "in/_SUCCESS").write_text("")
    assert predict_file(run, tmp_path / "in", tmp_path / "out") == 20
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert found == {*frames, MARK}
    for name, part in list(frames.items())[:2]:
        close(pq.read_table(tmp_path / "out" / name), part, run)
    empty = pq.read_table(tmp_path / "out/a/empty.parquet")
    assert empty.schema.field("probability").type == pa.float32() and not len(empty)
    assert len(pd.read_parquet(tmp_path / "out/a")) == 13

    with pytest.raises(FileExistsError, match="--force"):
        predict_file(run, tmp_path / "in", tmp_path / "out")
    (tmp_path / "in/b.parquet").unlink()
    assert predict_file(run, tmp_path / "in", tmp_path / "out", force=True) == 13
    assert not (tmp_path / "out/b.parquet").exists()
    with pytest.raises(FileExistsError, match="is not a folder of predictions; it is never replaced"):
        predict_file(run, tmp_path / "out", tmp_path / "in", force=True)
    with pytest.raises(ValueError, match="is in the folder that is read"):
        predict_file(run, tmp_path / "in", tmp_path / "in/out")
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match="no Parquet files in folder"):
        predict_file(run, tmp_path / "none", tmp_path / "new")
    write_folder(tmp_path / "none", {"a.parquet": frame[:0], "b.parquet": frame[:0]})
    with pytest.raises(ValueError, match="has no rows; expected at least one"):
        predict_file(run, tmp_path / "none", tmp_path / "new")
    assert sorted(os.listdir(tmp_path)) == ["in", "none", "out"]


def test_a_glob(run, tmp_path):
    frame = single(table(12, 5, 1))
    names = {"day=1/a.parquet": frame[:4], "day=2/a.parquet": frame[4:9], "day=3/a.parquet": frame[9:]}
    write_folder(tmp_path / "in", names)
    assert predict_file(run, tmp_path / "in/day=[12]/*.parquet", tmp_path / "files") == 9
    assert predict_file(run, str(tmp_path / "in/day=[23]"), tmp_path / "folders") == 8
    for folder, days in (("files", (1, 2)), ("folders", (2, 3))):
        assert sorted(os.listdir(tmp_path / folder)) == [MARK, *(f"day={day}" for day in days)]
        for day in days:
            got = pq.read_table(tmp_path / folder / f"day={day}/a.parquet", partitioning=None)
            close(got, names[f"day={day}/a.parquet"], run)
    (tmp_path / "a[1].parquet").write_bytes((tmp_path / "in/day=1/a.parquet").read_bytes())
    assert predict_file(run, tmp_path / "a[1].parquet", tmp_path / "out.parquet") == 4
    with pytest.raises(FileNotFoundError, match=r"no file .*none.*, a folder or a glob of such files"):
        predict_file(run, tmp_path / "none*.parquet", tmp_path / "new")


def test_a_column_that_the_folders_tell(run, tmp_path):
    frame = single(table(9, 5, 1)).assign(category=[0, 1, 2] * 3)
    for value, part in frame.groupby("category"):
        write_folder(tmp_path / "in", {f"category={value}/a.parquet": part.drop(columns="category")})
    predict_file(run, tmp_path / "in", tmp_path / "out")
    for value, part in frame.groupby("category"):
        got = pq.read_table(tmp_path / f"out/category={value}/a.parquet", partitioning=None)
        assert "category" not in got.column_names
        np.testing.assert_allclose(got["probability"], predict(run, part)["probability"], atol=1e-6)


def test_an_error_names_the_file_and_its_row(run, small_chunks, tmp_path):
    frame = single(table(20, 5, 1))
    bad = frame.assign(item=[1] * 13 + ["x"] * 7, category=1)
    worse = frame.assign(hist_category=[*frame["hist_category"][:15], *[[0] * 9] * 5])
    small_chunks(4, 2)
    for name, broken, message in (
        ("type", bad.assign(item=bad["item"].astype(str)), "row 0 of column 'item' is '1' of type str"),
        ("row", worse, r"'hist_category' and 'hist_item' do not hold equally many values in every row \(row 15: 9"),
        ("column", frame.rename(columns={"hist_item": "hist_itm"}), "'hist_item' is missing; did you mean 'hist_itm'"),
        ("value", frame.assign(item=[1.0] * 13 + [2.0**60] * 7), "row 13 of column 'item' is 1.15"),
    ):
        write_folder(tmp_path / name, {"a.parquet": frame, "b/c.parquet": broken})
        with pytest.raises(ValueError, match=f"^predict: {tmp_path}/{name}/b/c.parquet: .*{message}"):
            predict_file(run, tmp_path / name, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["column", "row", "type", "value"]


def test_scaled_probabilities(run, drift_store, small_chunks, tmp_path):
    frame = raw_rows(drift_store)
    frame.to_parquet(tmp_path / "in.parquet")
    small_chunks(8, 8)
    predict_file(run, tmp_path / "in.parquet", tmp_path / "out.parquet", calibrate="isotonic", store=drift_store)
    got = pq.read_table(tmp_path / "out.parquet")
    assert got.schema.field("probability").type == pa.large_list(pa.float64())
    close(got, frame, run, calibrate="isotonic")


def test_one_chunk_is_made_ahead():
    made = []

    def items():
        for i in range(5):
            made.append(i)
            yield i

    for i in _ahead(items()):
        assert i in made and len(made) <= i + 2
    with pytest.raises(ZeroDivisionError):
        list(_ahead(1 // (2 - i) for i in range(5)))


def test_progress_counts_rows(run, tmp_path, monkeypatch, capsys):
    single(table(9, 5, 1)).to_parquet(tmp_path / "in.parquet")
    predict_file(run, tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert "rows" not in capsys.readouterr().err
    monkeypatch.setattr("dienjax.training.prediction_files.DELAY", 0)
    predict_file(run, tmp_path / "in.parquet", tmp_path / "out.parquet", force=True, progress=True)
    assert "9.00/9.00" in capsys.readouterr().err


def test_files(run, drift_store, tmp_path):
    raw_rows(drift_store).to_parquet(tmp_path / "in.parquet")
    rows = predict_file(run, tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert rows == len(pd.read_parquet(tmp_path / "out.parquet")) == len(drift_store.samples("test"))
    with pytest.raises(FileExistsError, match="--force"):
        predict_file(run, tmp_path / "in.parquet", tmp_path / "out.parquet")
    with pytest.raises(FileNotFoundError, match="Parquet"):
        predict_file(run, tmp_path / "none.parquet", tmp_path / "other.parquet")
    for folder in (tmp_path, tmp_path / "no folder/out.parquet"):
        with pytest.raises(OSError, match="cannot be written; expected the name of a file in a folder that exists"):
            predict_file(run, tmp_path / "in.parquet", folder, force=True)
    assert sorted(os.listdir(tmp_path)) == ["in.parquet", "out.parquet"]


def test_files_that_cannot_be_read(run, drift_store, tmp_path):
    raw_rows(drift_store).to_parquet(tmp_path / "in.parquet")
    data = (tmp_path / "in.parquet").read_bytes()
    text = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(bytes(4) + b"\1\0\0\0"), pa.py_buffer(b"\xff")])
    columns = {"item": text, "category": [0], "hist_item": [[3]], "hist_category": [[0]]}
    pq.write_table(pa.table(columns), tmp_path / "no utf-8")
    half = len(data) // 2
    damaged = {
        "nothing": b"",
        "text": b"item\n3\n",
        "begin": data[:half],
        "end": data[half:],
        "footer": data[:-200] + bytes(100) + data[-100:],
        "pages": data[:4] + bytes(half) + data[4 + half :],
        "no utf-8": (tmp_path / "no utf-8").read_bytes(),
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=r"cannot be read \(.*\); expected a Parquet file") as caught:
            predict_file(run, tmp_path / name, tmp_path / "out.parquet")
        assert "\n" not in str(caught.value) and name in str(caught.value)
    assert not [name for name in os.listdir(tmp_path) if "out" in name]


def test_a_full_disk(run, drift_store, tmp_path):
    raw_rows(drift_store).to_parquet(tmp_path / "in.parquet")
    rows = predict_file(run, tmp_path / "in.parquet", tmp_path / "out.parquet")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"out.parquet cannot be written, nothing new is there \(.*\)$"):
            predict_file(run, tmp_path / "in.parquet", tmp_path / "out.parquet", force=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(os.listdir(tmp_path)) == ["in.parquet", "out.parquet"]
    assert len(pd.read_parquet(tmp_path / "out.parquet")) == rows
