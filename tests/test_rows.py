"""A table keeps one row of each key, and its two files say the same."""

import json

from experiments.rows import keep


def test_a_row_takes_the_place_of_its_predecessor(tmp_path):
    path = tmp_path / "new" / "table"
    for name, T, auc in (("a", 1, 0.5), ("b", 1, 0.6), ("a", 2, 0.7), ("a", 1, 0.8)):
        keep(path, {"name": name, "T": T, "auc": auc}, ("name", "T"), lambda rows: f"{[row['auc'] for row in rows]}")
    rows = json.loads(path.with_suffix(".json").read_text())
    assert [(row["name"], row["T"], row["auc"]) for row in rows] == [("b", 1, 0.6), ("a", 2, 0.7), ("a", 1, 0.8)]
    assert path.with_suffix(".md").read_text() == "[0.6, 0.7, 0.8]"
