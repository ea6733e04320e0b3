"""Chunks hold every row once, and never more than so many rows and bytes; what is damaged is refused by its name."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dienjax.training import parquet
from dienjax.training.parquet import chunks, find_parts, longest_list, with_keys


def lists(lengths, dtype=np.int64):
    end_N = np.append(0, np.cumsum(lengths)).astype(np.int32)
    return pa.ListArray.from_arrays(end_N, np.arange(end_N[-1], dtype=dtype))


def one_part(path, table, **options):
    pq.write_table(table, path, **options)
    (part,) = find_parts(path, ["events"])
    return part


@pytest.mark.parametrize("group", [3, 64, 1000])
def test_rows_come_in_order_and_few_at_a_time(tmp_path, monkeypatch, group):
    monkeypatch.setattr(parquet, "ROWS", 50)
    monkeypatch.setattr(parquet, "READ_ROWS", 8)
    table = pa.table({"events": lists(np.arange(207) % 7), "row": np.arange(207)})
    got = list(chunks(one_part(tmp_path / "a", table, row_group_size=group)))
    assert pa.concat_tables(got).equals(table)
    assert max(map(len, got)) <= 50 and np.mean([len(chunk) for chunk in got[:-1]]) > 40


def test_long_rows_make_small_chunks(tmp_path, monkeypatch):
    """Of a megabyte for 32 rows, in chunks of 8 kB: few rows are read at once where they are long."""
    monkeypatch.setattr(parquet, "BYTES", 1 << 13)
    table = pa.table({"events": lists([1000] * 128), "same": ["a text of some length"] * 128})
    part = one_part(tmp_path / "a", table, row_group_size=32)
    got = list(chunks(part))
    assert pa.concat_tables(got).equals(table)
    assert max(chunk.nbytes for chunk in got) <= 2 * (1 << 13)
    short = pa.table({"events": lists([1] * 2000)})
    assert [len(chunk) for chunk in chunks(one_part(tmp_path / "b", short))] == [1024, 976]


def test_a_file_without_rows_is_one_empty_table(tmp_path):
    table = pa.table({"events": lists([2, 0])})
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(table[:0], tmp_path / "b.parquet")
    full, empty = find_parts(tmp_path, ["events"])
    assert [len(chunk) for chunk in chunks(full)] == [2]
    assert [chunk.schema for chunk in chunks(empty)] == [table.schema]
    assert longest_list([empty, full], "events") == 2 and longest_list([empty], "events") == 1


def test_the_longest_list_stands_anywhere(tmp_path):
    parts = [
        one_part(tmp_path / "a", pa.table({"events": lists([3, 41, 0])}), row_group_size=1),
        one_part(tmp_path / "b", pa.table({"events": pa.nulls(4)})),
        one_part(tmp_path / "c", pa.table({"events": pa.array([None, [1, 2]])})),
    ]
    assert longest_list(parts, "events") == 41
    with pytest.raises(ValueError, match="/d: column 'events' holds int64; expected a list"):
        longest_list([one_part(tmp_path / "d", pa.table({"events": [1]}))], "events")


def test_damage_is_found_when_its_rows_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "ROWS", 100)
    monkeypatch.setattr(parquet, "READ_ROWS", 100)
    rng = np.random.default_rng(0)
    table = pa.table({"events": lists([1] * 1000), "noise": rng.random(1000)})
    options = {"row_group_size": 100, "write_page_checksum": True, "compression": "none", "use_dictionary": False}
    part = one_part(tmp_path / "a", table, **options)
    data = bytearray((tmp_path / "a").read_bytes())
    data[data.index(table["noise"].to_numpy()[750:760].tobytes())] ^= 1
    (tmp_path / "a").write_bytes(data)
    read = []
    with pytest.raises(ValueError, match=r"/a cannot be read \(.*CRC.*\); expected a Parquet file") as caught:
        read += (len(chunk) for chunk in chunks(part))
    assert sum(read) == 700 and "\n" not in str(caught.value)


def test_keys_are_numbers_where_all_are_and_stand_behind_columns(tmp_path):
    for name in ("day=1/city=Ulm%20am", "day=2/city=__HIVE_DEFAULT_PARTITION__", "day=10/city=7"):
        (tmp_path / name).mkdir(parents=True)
        pq.write_table(pa.table({"events": [1, 2]}), tmp_path / name / "a.parquet")
    parts = find_parts(tmp_path, ["events", "day", "city"])
    found = [{name: value.as_py() for name, value in part.keys.items()} for part in parts]
    assert found == [{"day": 1, "city": "Ulm am"}, {"day": 10, "city": "7"}, {"day": 2, "city": None}]
    table = with_keys(parts[0], pa.table({"events": [1, 2], "day": ["mine", "too"]}))
    assert table.to_pydict() == {"events": [1, 2], "day": ["mine", "too"], "city": ["Ulm am"] * 2}
    with pytest.raises(ValueError, match=r"/day=1/.*column 'dya' is missing; did you mean 'day'"):
        find_parts(tmp_path, ["dya"])
    pq.write_table(pa.table({"events": [1, 2]}), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"/b.parquet.*column 'day' is missing"):
        find_parts(tmp_path, ["day"])
