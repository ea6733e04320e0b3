"""Rows are cut into pieces of K candidates, in the order of the candidates; K is chosen once, unless it hardly fits."""

import numpy as np
import pytest

from dienjax.serving.raw_columns import Encoded
from dienjax.serving.rows import Rows
from dienjax.training.chunks import STEP, _lengths, _pieces, _width
from dienjax.training.config import DataConfig


@pytest.mark.parametrize(
    ("count_N", "now", "expected"),
    [
        ([1] * 9, 0, 1),
        ([200] * 9, 0, 32),  # 7 of 32 pad less than one of 256
        ([1] * 50 + [200], 0, 4),  # 100 pieces of 4 cost less than 51 of 256, and less than 250 of 1
        ([100 * STEP], 0, STEP),
        ([1] * 9, 4, 4),  # a piece of 4 costs 8, one of 1 costs 5
        ([1] * 9, 32, 1),
        ([3, 4], 256, 4),
        ([200], 64, 64),
    ],
)
def test_how_many_candidates_a_piece_has(count_N, now, expected):
    assert _width(np.array(count_N), now) == expected


@pytest.mark.parametrize(
    ("lengths", "longest", "expected"),
    [
        (8, 50, (3, 7, 12, 18, 25, 33, 41, 50)),
        (8, 33, (3, 7, 12, 18, 25, 33, 41, 50)),
        (8, 3, (1, 2, 3, 4)),
        (1, 9, (16,)),
        ((5, 12), 13, (5, 12, 16)),
        ((50,), 3, (50,)),
    ],
)
def test_histories_fall_on_few_lengths(lengths, longest, expected):
    assert _lengths(DataConfig(max_len=50, lengths=lengths), longest) == expected


def test_pieces_hold_every_candidate_once_beside_its_history():
    def column(name, values, length_N):
        return Encoded(name, np.array(values, np.int32), None if length_N is None else np.array(length_N))

    rows = Rows(
        [column("hist_item", [11, 12, 13, 14], [1, 0, 3])],
        [column("city", [7, 8, 9], None)],
        [column("item", [21, 22, 23, 24, 25, 26, 27], [1, 5, 1])],
    )
    got = _pieces(rows, K=2, max_len=2)
    assert got["item"].tolist() == [[21, 0], [22, 23], [24, 25], [26, 0], [27, 0]]
    assert got["hist_item"].tolist() == [[11, 0], [0, 0], [0, 0], [0, 0], [13, 14]]
    assert got["city"].tolist() == [7, 8, 8, 8, 9]
    single = Rows(rows.history, rows.user, [column("item", [21, 22, 23], None)])
    assert _pieces(single, K=1, max_len=3)["item"].tolist() == [[21], [22], [23]]
