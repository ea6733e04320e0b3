"""Compiling for accelerators that are not here, and the reading of what crosses devices."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

import builders
from experiments import compile_for as script
from experiments.collectives import Collective, collectives

PROGRAM = """HloModule step

%body.1 (p: (s32[], f32[8,3])) -> (s32[], f32[8,3]) {
  %inner = f32[8,3]{1,0} fusion(%p), kind=kLoop, calls=%fused
}

%fused (q: f32[8,3]) -> f32[8,3] {
  ROOT %all-gather.2 = f32[8,3]{1,0} all-gather(%q), channel_id=2, dimensions={0}
}

ENTRY %main (a: f32[4,3]) -> f32[4,3] {
  %all-reduce-start.1 = (bf16[4,3]{1,0:T(8,128)}, pred[100]) all-reduce-start(%a, %b), channel_id=1, to_apply=%add
  %all-reduce-done.1 = bf16[4,3]{1,0} all-reduce-done(%all-reduce-start.1)
  %while.3 = (s32[], f32[8,3]) while(%tuple), condition=%cond.1, body=%body.1
}
"""
SMALL = ["--batch-size", "64", "--length", "4", "--set", "model.tower=[8]", "--set", "model.attention_hidden=[8]"]


def test_collectives_of_a_program():
    found = collectives(PROGRAM)
    assert [(c.kind, c.bytes, c.in_loop) for c in found] == [("all-gather", 96, True), ("all-reduce", 100, False)]
    assert isinstance(found[0], Collective) and "dimensions={0}" in found[0].line
    assert collectives("HloModule empty\n") == []


def test_other_numbers_of_rows():
    schema = script.with_rows(builders.SCHEMA, ("item=1e6",))
    assert schema.table("item").size == 10**6 and schema.table("city") == builders.SCHEMA.table("city")
    with pytest.raises(ValueError, match=r"--rows itme: no such table; expected one of item, category"):
        script.with_rows(builders.SCHEMA, ("itme=3",))


def test_without_libtpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "libtpu", None)
    with pytest.raises(ImportError, match=r"--tpu needs libtpu: pip install 'dienjax\[tpu\]'"):
        script.tpu_devices("v5e:2x2")


def compiled(*arguments):
    command = [sys.executable, "-m", "experiments.compile_for", "dien", *map(str, arguments), *SMALL]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_lowering_for_cuda(drift_store):
    done = compiled("--store", drift_store.path, "--cuda", "4", "--rows", "item=1e6")
    assert done.returncode == 0, done.stderr
    assert "4 × CUDA, tables rows" in done.stdout and "table item: 1,000,000 × " in done.stdout
    assert "training step: " in done.stdout and "1 reduce_scatter" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(find_spec("libtpu") is None, reason="needs libtpu: pip install '.[tpu]'")
def test_compiling_for_a_tpu(drift_store):
    done = compiled("--store", drift_store.path, "--tpu", "v5e:2x2", "--rows", "item=1e6")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 × v5e:2x2" in done.stdout and "scoring step: " in done.stdout and "WRONG" not in done.stdout
    done = compiled("--store", drift_store.path, "--tpu", "v5e:nowhere")
    assert done.returncode and "--tpu 'v5e:nowhere': no such topology" in done.stderr
