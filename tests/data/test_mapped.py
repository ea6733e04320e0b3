"""Columns of a store are written as np.save writes them, whole or in blocks."""

import hashlib

import numpy as np
import pytest

from dienjax.data.mapped import Blocks, save_array
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
