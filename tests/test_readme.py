"""The README's Python runs as it stands, and its first lines are the ones that it promises."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS, ids=["log", "arrays"])
def test_python_examples(code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    printed = capsys.readouterr().out
    metrics = names["dienjax"].evaluate(names["run"], names.get("data", names.get("store")))
    assert str(metrics["auc"]) in printed
    assert metrics["auc"] > 0.55


def test_the_first_screen_has_the_two_lines():
    first_screen = README.splitlines()[:20]
    assert sum(line.startswith("python3 -m venv .venv && .venv/bin/pip install") for line in first_screen) == 2
