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


def run(code, folder):
    """What the code prints when it runs in the folder."""
    environment = os.environ | {"XLA_FLAGS": builders.FAST_COMPILATION}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


# The third serves an export: tests/export/test_export_folder.py has one.
@pytest.mark.parametrize(
    "code", [pytest.param(BLOCKS[0], id="log"), pytest.param(BLOCKS[1], id="arrays", marks=pytest.mark.slow)]
)
def test_python_examples(code, tmp_path):
    auc = re.search(r"(?:'auc': )?(\d\.\d+)", run(code, tmp_path))
    assert float(auc[1]) > 0.75


def test_the_first_screen_has_the_two_lines():
    first_screen = README.splitlines()[:20]
    assert sum(line.startswith("python3 -m venv .venv && .venv/bin/pip install") for line in first_screen) == 2
