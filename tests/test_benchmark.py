"""The benchmark's logs are what it says they are, and it runs from the command line to its files."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def repository():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        yield


@pytest.fixture(scope="module")
def logs():
    from experiments.benchmark import logs

    return logs


@pytest.fixture(scope="module")
def log(logs):
    return logs.generate(17_000)


def test_sizes(logs, log):
    assert logs.sizes(1_700_000) == {"events": 1_700_000, "users": 200_000, "items": 60_000, "categories": 900}
    for name, size in zip(("user", "item", "category"), (2000, 600, 600), strict=True):
        assert len(log[name]) == 17_000 and log[name].dtype == np.int64
        assert np.array_equal(np.unique(log[name]), np.arange(size))
    assert log["time"].dtype == np.int64 and (np.diff(log["time"]) >= 0).all()


def test_histories_vary_and_items_are_skewed(log):
    count_U, count_V = np.bincount(log["user"]), np.sort(np.bincount(log["item"]))[::-1]
    # Geometric beyond two events: the standard deviation is about the mean.
    assert count_U.min() == 2 and 5 < count_U.std() < 9
    assert 0.4 < count_V[:30].sum() / count_V.sum() < 0.7 and count_V[0] > 4 * count_V[9]


def test_each_item_has_one_category(log):
    pairs = np.unique(np.stack([log["item"], log["category"]]), axis=1)
    assert pairs.shape[1] == 600


def test_a_seed_gives_the_same_log(logs, log):
    again, other = logs.generate(17_000), logs.generate(17_000, seed=1)
    assert all(np.array_equal(log[name], again[name]) for name in log)
    assert not np.array_equal(log["user"], other["user"])


def test_a_goal_is_judged_by_its_worst_row():
    from experiments.benchmark.goals import Goal, checked

    rows = [{"events": 10, "s": 1.0}, {"events": 10, "s": 3.0}, {"events": 20, "s": 9.0}]
    goals = [Goal({"events": 10}, "s", 2), Goal({"events": 10}, "s", 1, least=True), Goal({"events": 30}, "s", 2)]
    lines = checked(goals, rows, {"s": "seconds"})
    assert lines == [
        "MISSED: events 10: seconds at most 2, measured 3",
        "kept: events 10: seconds at least 1, measured 1",
    ]


def test_what_is_not_installed_is_left_out(monkeypatch):
    from experiments.benchmark import prepare

    monkeypatch.setattr(prepare.measure, "find_spec", lambda name: None)
    left_out = prepare._left_out(("memory", "duckdb"), 1)
    assert list(left_out) == ["duckdb", "torch-rechub"] and "'.[torch]'" in left_out["torch-rechub"]
    assert prepare._left_out(("memory",), 0) == {}


def test_a_failed_measurement_says_what_happened():
    from experiments.benchmark.measure import in_child

    with pytest.raises(RuntimeError, match=r"exit code 1:\n(.|\n)*no-such-log"):
        in_child("experiments.benchmark.prepare:dienjax", out="unused", log="no-such-log", engine="memory", batch=0)


@pytest.mark.slow
def test_prepare(tmp_path):
    command = [sys.executable, "-m", "experiments.benchmark", "prepare", "--events", "2000", "--engines", "memory"]
    command += ["--rechub-events", "0", "--repeats", "1", "--results", str(tmp_path), "--temporary", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "2,000 | dienjax |" in done.stdout
    result = json.loads((tmp_path / "prepare.json").read_text())
    assert result["machine"]["packages"]["numpy"] == np.__version__
    assert [row["file"] for row in result["rows"]] == ["parquet", "csv"]
    for row in result["rows"]:
        assert 0 < row["call_s"] < row["process_s"] and 0.05 < row["gb"] < 0.6
    assert sorted(file.name for file in tmp_path.iterdir()) == ["prepare.json", "prepare.png"]


@pytest.mark.slow
def test_against_another_checkout(capsys):
    from experiments.benchmark import against

    against.main(ROOT, events=2000, histories=200, rounds=1, only="memory")
    *_, parquet, csv = capsys.readouterr().out.splitlines()
    for line, what in ((parquet, "Parquet"), (csv, "CSV")):
        name, rounds, now, then, ratio, _ = line.strip("| ").split(" | ")
        assert (name, rounds) == (f"prepare, {what}, memory", "1")
        assert float(ratio) == pytest.approx(float(now) / float(then), rel=0.02)
