"""The gather against a loop over Python lists."""

import numpy as np

from dienjax.data.histories import gather, window_rows, windows


def test_windows_equal_a_loop_over_lists():
    rng = np.random.default_rng(0)
    column_E = rng.integers(1, 1000, 500, dtype=np.int32)
    start_B = rng.integers(0, 400, 64)
    end_B = start_B + rng.integers(0, 12, 64)
    for T in (1, 4, 11, 20):
        expected = np.zeros((64, T), np.int32)
        for b in range(64):
            recent = column_E[start_B[b] : end_B[b]].tolist()[-T:]
            expected[b, : len(recent)] = recent
        got = windows(column_E, start_B, end_B, T)
        assert got.dtype == np.int32
        np.testing.assert_array_equal(got, expected)


def test_mask_empty_full_and_cut_histories():
    row_BT, mask_BT = window_rows(np.array([5, 5, 5, 5]), np.array([5, 6, 8, 10]), 3)
    np.testing.assert_array_equal(row_BT, [[0, 0, 0], [5, 0, 0], [5, 6, 7], [7, 8, 9]])
    np.testing.assert_array_equal(mask_BT, [[0, 0, 0], [1, 0, 0], [1, 1, 1], [1, 1, 1]])


def test_float_columns_keep_their_dtype_and_pad_with_zero():
    column_E = np.array([0.5, 1.0, 0.25], np.float32)
    row_BT, mask_BT = window_rows(np.array([0]), np.array([2]), 3)
    got = gather(column_E, row_BT, mask_BT)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, [[0.5, 1.0, 0.0]])


def test_a_memory_mapped_column_reads_alike(tmp_path):
    np.save(tmp_path / "c.npy", np.arange(10, dtype=np.int32))
    column_E = np.load(tmp_path / "c.npy", mmap_mode="r")
    np.testing.assert_array_equal(windows(column_E, np.array([2]), np.array([5]), 4), [[2, 3, 4, 0]])
