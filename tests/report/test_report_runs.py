"""Runs are opened and named."""

from pathlib import Path

import pytest
from measured_runs import CONFIG

from builders import SCHEMA
from dienjax import Run
from dienjax.report.runs import open_runs, run_names


def test_open_runs(tmp_path):
    (tmp_path / "many").mkdir()
    for name in ("one", "many/seed10", "many/seed2", "many/notes"):
        Run.create(tmp_path / name, CONFIG, SCHEMA)
    found = open_runs([tmp_path / "one", str(tmp_path / "many")])
    assert [run.path.name for run in found] == ["one", "seed2", "seed10"]
    with pytest.raises(ValueError, match="seed2 is named twice"):
        open_runs([tmp_path / "many/seed2", tmp_path / "many"])
    with pytest.raises(FileNotFoundError, match="is not a run folder"):
        open_runs([tmp_path])
    with pytest.raises(ValueError, match="no run is named"):
        open_runs([])


def test_run_names_have_as_much_of_the_path_as_tells_them_apart():
    assert run_names([Path("/a/b/x"), Path("/a/c/y")]) == ["x", "y"]
    assert run_names([Path("/a/b/x"), Path("/a/c/x"), Path("/a/c/y")]) == ["b/x", "c/x", "c/y"]
    assert run_names([Path("/a/b/x"), Path("/d/b/x")]) == ["a/b/x", "d/b/x"]
    assert run_names([Path("x")]) == ["x"]
