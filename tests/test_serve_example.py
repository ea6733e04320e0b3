"""The example from a log to scored requests runs, and serves what the model computes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import builders

SCRIPT = Path(__file__).parents[1] / "experiments" / "serve.py"


@pytest.mark.slow
def test_the_example(tmp_path):
    pytest.importorskip("jax2onnx")
    command = [sys.executable, SCRIPT, "--folder", tmp_path / "serve", "--users", "200", "--requests", "5"]
    environment = os.environ | {"XLA_FLAGS": builders.FAST_COMPILATION}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^after categories .*: item \d+ \(0\.\d+\), item", done.stdout, re.MULTILINE)) == 3
    assert "over 5 requests" in done.stdout
