"""The measurement of scoring by the number of rows goes its whole way, on a small model and few rows."""

import re

import pyarrow.parquet as pq
import pytest

from experiments import scale_predict


@pytest.mark.slow
def test_a_small_measurement(tmp_path, capfd):
    scale_predict.main(rows=(300, 600), folder=tmp_path, events=3000)
    lines = re.findall(
        r"([\d,]+) rows +here +[\d.]+ s +[\d.]+ CPU s +[\d,]+ rows/s +(\d\.\d+) GB", capfd.readouterr().out
    )
    assert [rows for rows, _ in lines] == ["300", "600"] and all(float(gb) > 0.1 for _, gb in lines)
    scored = pq.read_table(tmp_path / "scored.parquet")
    assert scored["row"].to_pylist() == list(range(600)) and scored["probability"].null_count == 0
    assert max(map(len, scored["hist_item"].to_pylist())) == scale_predict.LONGEST
