"""Columns of a store are written as np.save writes them, whole or in blocks."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from dienjax.data import mapped
from dienjax.data.mapped import Blocks, in_blocks, load_array, release, save_array
from dienjax.storage.manifest import manifest_of, read_manifest


@pytest.mark.parametrize("column", [np.arange(7), np.zeros(0, np.float32), np.arange(12, dtype=np.int32)[::2]])
def test_a_column_in_blocks_is_the_file_of_np_save(column, tmp_path):
    np.save(tmp_path / "expected.npy", column)
    parts = np.array_split(column, 3)
    folder = tmp_path / "folder"
    folder.mkdir()
    with manifest_of(folder) as record:
        save_array(record, folder / "whole.npy", column)
        save_array(record, folder / "blocks.npy", Blocks(len(column), column.dtype, lambda: iter(parts)))
    expected = (tmp_path / "expected.npy").read_bytes()
    for name in ("whole.npy", "blocks.npy"):
        assert (folder / name).read_bytes() == expected
        assert read_manifest(folder)[name] == hashlib.sha256(expected).hexdigest()


def test_blocks_of_another_length_are_refused(tmp_path):
    wrong = Blocks(3, np.dtype(np.int32), lambda: iter([np.zeros(2, np.int32)]))
    with pytest.raises(RuntimeError, match="has 2 rows; expected 3"), manifest_of(tmp_path) as record:
        save_array(record, tmp_path / "a.npy", wrong)


@pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="only Linux says what of a mapping is resident"
)
def test_a_mapped_column_is_read_in_parts_that_are_let_go(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "BLOCK", 1 << 16)
    np.save(tmp_path / "a.npy", np.arange(1 << 23))
    column = load_array(tmp_path / "a.npy", None, np.int64)

    def resident():
        return int(re.search(r"Rss: +(\d+)", Path("/proc/self/smaps_rollup").read_text())[1]) << 10

    before, largest, total = resident(), 0, 0
    for start, part in in_blocks(column):
        assert part[0] == start
        total += int(part.sum())
        largest = max(largest, resident())
    assert total == (1 << 23) * ((1 << 23) - 1) // 2
    assert largest - before < 32e6 < column.nbytes
    release(np.arange(3), column[5:], np.zeros(0))
    assert column[7] == 7
