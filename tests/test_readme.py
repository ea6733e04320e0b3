"""The README's Python runs as it stands, and its first lines are the ones that it promises."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import builders

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS, ids=["log", "arrays"])
def test_python_examples(code, tmp_path):
    command = [sys.executable, "-c", code]
    environment = os.environ | {"XLA_FLAGS": builders.FAST_COMPILATION}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    auc = re.search(r"(?:'auc': )?(\d\.\d+)", done.stdout)
    assert float(auc[1]) > 0.75


def test_the_first_screen_has_the_two_lines():
    first_screen = README.splitlines()[:20]
    assert sum(line.startswith("python3 -m venv .venv && .venv/bin/pip install") for line in first_screen) == 2
