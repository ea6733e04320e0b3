"""The AUCs that the README, the configs and RESULTS.md quote are those of experiments/results/auc.json."""

import json
import re
from pathlib import Path

import pytest

from experiments import results

ROOT = Path(__file__).parents[1]
ROWS = json.loads((ROOT / "experiments/results/auc.json").read_text())
OF_CONFIG = {row["config"]: row for row in ROWS if row["min_count"] == 1}


def short(row):
    """The mean AUC to three digits, as it is quoted."""
    return results.auc(row, 3) + (" (3 seeds" if len(row["seeds"]) > 1 else " (1 seed")


def test_every_row_was_measured():
    assert [(row["config"], row["min_count"]) for row in ROWS] == [(name, count) for name, _, count, _ in results.RUNS]
    assert [len(row["seeds"]) for row in ROWS] == [seeds for *_, seeds in results.RUNS]
    assert {path.stem for path in (ROOT / "experiments").glob("*.toml")} == OF_CONFIG.keys()


@pytest.mark.parametrize("name", OF_CONFIG)
def test_a_config_quotes_its_own(name):
    assert f"# Test AUC {short(OF_CONFIG[name])}" in (ROOT / "experiments" / f"{name}.toml").read_text()


def test_the_table_is_in_the_results():
    assert results.table(ROWS) in (ROOT / "experiments/RESULTS.md").read_text()
    assert results.table(ROWS) == (ROOT / "experiments/results/auc.md").read_text()


def test_the_readme_quotes_the_means():
    lines = {
        "last event": ("sports_last_dien", "sports_last_dien_alpha0", "sports_last_din"),
        "every event": ("sports_targets_all_dien", "sports_targets_all_din"),
    }
    text = (ROOT / "README.md").read_text()
    for start, names in lines.items():
        (line,) = re.findall(rf"^\| {start} .*", text, re.MULTILINE)
        assert re.findall(r"\d\.\d+", line) == [short(OF_CONFIG[name])[:5] for name in names]
