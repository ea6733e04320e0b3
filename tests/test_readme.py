"""The Python of every README runs as it stands, twice in one folder; what the READMEs name is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import builders
from dienjax.report.describe import EXAMPLE, describe_file
from dienjax.training.config import Config

ROOT = Path(__file__).parents[1]
INNER = ["data", "interop", "serving", "training"]
ROOMS = ["", "data_prep", "dienjax", *(f"dienjax/{room}" for room in INNER), "experiments"]
TEXTS = {room: (ROOT / room / "README.md").read_text(encoding="utf-8") for room in ROOMS}
BLOCKS = {
    f"{room or 'top'} {number}": code
    for room, text in TEXTS.items()
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
}
SERVING = "dienjax/serving 0"
"""Reads an export: tests/export/test_export_folder.py has one, and runs it."""


def run(code, folder):
    """What the code prints when it runs in the folder."""
    environment = os.environ | {"XLA_FLAGS": builders.FAST_COMPILATION}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def test_every_readme_is_read():
    files = subprocess.run(["git", "ls-files", "*README.md"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    assert not files or {str(Path(room) / "README.md") for room in ROOMS} == set(files)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BLOCKS if name != SERVING])
def test_python_examples(name, tmp_path):
    said = run(BLOCKS[name], tmp_path)
    if name in ("top 0", "dienjax/data 0"):
        assert float(re.search(r"(?:'auc': )?(\d\.\d+)", said)[1]) > 0.75
    run(BLOCKS[name], tmp_path)


def test_the_top_one_is_short_and_begins_with_the_two_lines():
    lines = TEXTS[""].splitlines()
    assert len(lines) <= 200
    assert sum(line.startswith("python3 -m venv .venv && .venv/bin/pip install") for line in lines[:20]) == 2


@pytest.mark.parametrize("room", ROOMS)
def test_links_and_files_are_there(room):
    names = re.findall(r'(?<!")\]\(([^)#]+)(?:#[^)]*)?\)', TEXTS[room])
    for name in names:
        assert (ROOT / room / name).exists(), name
    for config in re.findall(r"experiments/[\w/]+\.toml", TEXTS[room]):
        assert (ROOT / config).exists(), config


def test_the_picture_of_the_model_is_what_describe_draws(tmp_path):
    describe_file("dien", svg=tmp_path / "dien.svg")
    assert (ROOT / "experiments/pictures/dien.svg").read_text() == (tmp_path / "dien.svg").read_text(), (
        "dienjax describe dien --svg experiments/pictures/dien.svg"
    )
    assert Config.load("dien").model.build(EXAMPLE).kind == "AUGRU"
