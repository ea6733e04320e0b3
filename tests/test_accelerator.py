"""The script for accelerators runs, checks and measures, here on the CPU."""

import json
import re
import subprocess
import sys

import pytest

from experiments.accelerator import speed


def test_cases_cover_what_is_asked_for():
    cases = list(speed.cases(quick=False))
    assert {c.batch for c in cases} >= {1024, 131_072} and {c.length for c in cases} >= {10, 50, 100}
    assert {c.dtype for c in cases} == {"float32", "bfloat16"}
    anchors = [c for c in cases if c.published]
    assert {(c.batch, c.length, c.dim) for c in anchors} == {(1024, 100, 64), (131_072, 10, 16)}
    assert {c.unroll for c in anchors} == {1, 2, 5, 10}


@pytest.mark.parametrize("name", ["gemm_fusion_dot.3", "cutlass_80_tensorop", "%dot.1", "convolution.2"])
def test_names_of_products(name):
    assert re.search(speed.PRODUCT, name) and not re.search(speed.PRODUCT, "loop_add_fusion")


@pytest.mark.slow
def test_it_checks_and_measures(tmp_path):
    command = [sys.executable, "-m", "experiments.accelerator", "--quick", "--out", str(tmp_path / "out.json")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert all(check["right"] for check in found["checks"].values()) and len(found["checks"]) == 3
    assert [case["samples/s"] > 0 for case in found["speeds"]] == [True] * 3
