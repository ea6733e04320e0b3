import json
import os
import shutil
import subprocess
import sys

import pytest

import builders
from dienjax.data.drift import DriftWorld
from dienjax.demo import demo, is_demo
from dienjax.report.needed import NEEDED, missing


@pytest.mark.slow
def test_dien_beats_din_where_interests_drift(tmp_path):
    """By 0.17 after the demo's four epochs, by more than 0.1 already after two; one depends too much on the seed."""
    code = "from dienjax.cli import main; main()"
    command = [sys.executable, "-c", code, "demo", "--out", str(tmp_path / "demo"), "--epochs", "2"]
    environment = os.environ | {"XLA_FLAGS": builders.FAST_COMPILATION}
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    results = json.loads((tmp_path / "demo/result.json").read_text())
    assert results["DIN"] + 0.1 < results["DIEN"] < results["optimum"]
    assert f"DIEN     {results['DIEN']:.4f}" in printed.stdout
    assert (tmp_path / "demo/dien/curves.png").exists()
    page = (tmp_path / "demo/report.html").read_text(encoding="utf-8")
    assert "the true interests" in page and "true interest, by category" in page


def test_only_what_a_demo_leaves_is_one(store, tmp_path):
    shutil.copytree(store.path, tmp_path / "store")
    (tmp_path / "din").mkdir()
    (tmp_path / ".din.01234567.tmp").mkdir()
    assert is_demo(tmp_path)  # stopped before its end
    (tmp_path / "report.html").touch()
    assert is_demo(tmp_path)
    (tmp_path / "notes.txt").touch()
    assert not is_demo(tmp_path)
    with pytest.raises(FileExistsError, match="is not a demo; it is never replaced"):
        demo(tmp_path)
    (tmp_path / "notes.txt").unlink()
    (tmp_path / "store" / "store.json").unlink()
    assert not is_demo(tmp_path)


@pytest.mark.slow
def test_without_the_packages_of_a_report_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr("dienjax.report.needed.find_spec", lambda name: None)
    assert missing() == list(NEEDED)
    demo(tmp_path / "demo", DriftWorld(users=80), epochs=1)
    assert (tmp_path / "demo/result.json").exists() and not (tmp_path / "demo/report.html").exists()


def test_impossible_settings_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"fit\.epochs is 0"):
        demo(tmp_path / "demo", epochs=0)
    assert not any(tmp_path.iterdir())
