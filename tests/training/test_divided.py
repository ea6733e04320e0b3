"""Devices that share a batch give what one device gives, and nothing crosses them where it must not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import builders
from dienjax.training.divided import divide
from dienjax.training.layout import Layout
from dienjax.training.lazy_rows import renumber

KINDS, BOTH = "DIN,GRU,AIGRU,AGRU,AUGRU,minAUGRU,microbatches", "replicated,rows"


def on_devices(*arguments, script="divided_steps.py", devices=8, **environment):
    """What a script beside this file prints on virtual devices."""
    script = Path(__file__).with_name(script)
    environment = {"JAX_NUM_CPU_DEVICES": str(devices), "PYTHONPATH": os.fspath(script.parents[2])} | environment
    done = subprocess.run(
        [sys.executable, script, *arguments], env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def assert_equal(differences, tolerance):
    assert differences
    assert {case: found for case, found in differences.items() if not found <= tolerance} == {}


def test_eight_devices_equal_one():
    """With dropout, batch norm, Dice, penalties, clipping, ragged and empty batches, and 61 rows."""
    assert_equal(on_devices("steps", "AUGRU", "rows", "sgd", "6"), 1e-6)


@pytest.mark.slow
def test_eight_devices_equal_one_after_twenty_steps_of_every_kind():
    assert_equal(on_devices("steps", KINDS, BOTH, "sgd", "20"), 1e-6)


@pytest.mark.slow
def test_eight_devices_equal_one_in_float64():
    assert_equal(on_devices("steps", KINDS, BOTH, "sgd", "20", JAX_ENABLE_X64="1"), 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "adagrad", "rowwise_adagrad"])
def test_eight_devices_equal_one_with_every_optimizer(optimizer):
    """In float64: where a gradient is almost 0, Adam makes of a rounding error a step."""
    assert_equal(on_devices("steps", "DIN", BOTH, optimizer, "6", JAX_ENABLE_X64="1"), 1e-8)


@pytest.mark.slow
def test_nothing_crosses_in_a_loop_and_never_a_table():
    """The largest that crosses is the rows of all lists; the histogram of the AUC is larger than these tiny ones."""
    for case, found in on_devices("crossing", KINDS, BOTH).items():
        assert found["crossed"], case
        for kind, size, in_loop in found["crossed"]:
            assert not in_loop, (case, kind, size)
            assert size <= max(found["rows"], 2 * 512 * 4), (case, kind, size)


def test_each_device_draws_its_own_rows_of_a_table():
    assert on_devices("starts", "DIN", "rows") == {"DIN": {"difference": 0.0, "held": ["(8, 3)"]}}


def test_a_batch_is_renumbered_for_each_device():
    batch, schema = builders.make_batch([3, 0, 1, 4]), builders.SCHEMA
    rows = divide(batch, Layout(schema, tuple(range(2))))
    for half in (0, 1):
        part = slice(2 * half, 2 * half + 2)
        alone = renumber(batch.replace(**_part(batch, part)), schema)
        for name, row_R in alone.row_R.items():
            np.testing.assert_array_equal(rows.row_R[name][half * len(row_R) :][: len(row_R)], row_R)
        np.testing.assert_array_equal(rows.batch.history["item"][part], alone.batch.history["item"])
        np.testing.assert_array_equal(rows.batch.label_BK[part], alone.batch.label_BK)


def _part(batch, part):
    groups = {
        g: {n: a[part] for n, a in getattr(batch, g).items()} for g in ("user", "history", "candidate", "negative")
    }
    return groups | {n: getattr(batch, n)[part] for n in ("mask_BT", "mask_BK", "label_BK", "hist_label_BT")}


@pytest.mark.slow
def test_a_checkpoint_of_eight_devices_moves_to_others(drift_store, tmp_path):
    """Its arrays and its export are the same, bit for bit; an evaluation on eight devices, up to rounding."""
    found = on_devices(drift_store.path, tmp_path, script="divided_runs.py")
    assert found["spread"] == ["item"]
    assert found["moved"] == {str(n): {"shards": 1, "equal": True, "same_export": True} for n in (1, 2, 4)}
    assert found["metrics"][0] == pytest.approx(found["metrics"][1], abs=1e-4)
