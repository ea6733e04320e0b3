"""A checkpoint comes back bit for bit, or an older whole one does, or an error says why not."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from dienjax.training import checkpoint


@struct.dataclass
class State:
    step: Any
    params: Any
    batch_stats: Any
    opt_state: Any


def make_state(step=7, rows=30, tx=None):
    tx = tx or optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    params = {
        "embed": {"item": jax.random.normal(jax.random.key(step), (rows, 6))},
        "tower": {"kernel": jnp.full((6, 2), 1 / 3), "bias": jnp.array([jnp.nan, -0.0])},
    }
    extra = {"key": jax.random.key_data(jax.random.key(1)), "seen": jnp.array([True, False]), "none": None, "empty": {}}
    return State(jnp.int32(step), params, extra, tx.init(params))


def assert_equal_bits(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert (g.dtype, g.shape) == (w.dtype, w.shape)
        assert np.asarray(g).tobytes() == np.asarray(w).tobytes()


@pytest.mark.parametrize("how", ["concrete", "abstract"])
def test_round_trip_is_bit_exact(tmp_path, how):
    state, position = make_state(), {"epoch": 1, "best": 0.75, "history": [1, None], "name": "ü"}
    assert {x.dtype.name for x in jax.tree.leaves(state)} == {"int32", "float32", "bool", "uint32"}
    checkpoint.save(tmp_path, "last", state, position)
    like = make_state(3) if how == "concrete" else jax.eval_shape(make_state, 3)
    got, got_position = checkpoint.restore(tmp_path, "last", like)
    assert_equal_bits(got, state)
    assert got_position == position
    assert isinstance(got.opt_state[0], optax.EmptyState)
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(got))


def test_training_goes_on_bit_for_bit_with_donation(tmp_path):
    tx = optax.adamw(1e-2)

    @jax.jit
    def grow(state):
        updates, opt_state = tx.update(jax.tree.map(jnp.cos, state.params), state.opt_state, state.params)
        return state.replace(
            step=state.step + 1, params=optax.apply_updates(state.params, updates), opt_state=opt_state
        )

    donating = jax.jit(grow, donate_argnums=0)
    state = grow(make_state(tx=tx))
    checkpoint.save(tmp_path, "last", state, {})
    restored, _ = checkpoint.restore(tmp_path, "last", state)
    for _ in range(3):
        state, restored = grow(state), donating(restored)
    assert_equal_bits(restored, state)


def test_relative_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = checkpoint.save("run", "best", make_state(), {"epoch": 2})
    assert path == tmp_path / "run" / "checkpoints" / "best" / "7"
    assert checkpoint.restore("run", "best", make_state())[1] == {"epoch": 2}


def test_keeps_two_last_and_one_best(tmp_path):
    for step in (5, 10, 100):
        for kind in ("last", "best"):
            checkpoint.save(tmp_path, kind, make_state(step), {"step": step})
    assert checkpoint.steps(tmp_path, "last") == [10, 100]
    assert checkpoint.steps(tmp_path, "best") == [100]
    assert sorted(p.name for p in (tmp_path / "checkpoints" / "last").iterdir()) == ["10", "100"]
    assert checkpoint.restore(tmp_path, "last", make_state())[1] == {"step": 100}


def test_a_failed_save_keeps_what_was_there(tmp_path):
    checkpoint.save(tmp_path, "best", make_state(5), {"epoch": 1})
    with pytest.raises(ValueError, match=r"position\.json"):
        checkpoint.save(tmp_path, "best", make_state(9), {"best": float("nan")})
    with pytest.raises(TypeError, match="'batch_stats' is a float"):
        checkpoint.save(tmp_path, "best", make_state(9).replace(batch_stats=1.0), {})
    with pytest.raises(ValueError, match=r"'batch_stats/x' has shape \(0, 3\)"):
        checkpoint.save(tmp_path, "best", make_state(9).replace(batch_stats={"x": jnp.zeros((0, 3))}), {})
    assert [p.name for p in (tmp_path / "checkpoints" / "best").iterdir()] == ["5"]


def test_same_step_again_replaces(tmp_path):
    checkpoint.save(tmp_path, "last", make_state(5), {"n": 1})
    checkpoint.save(tmp_path, "last", make_state(5, rows=31), {"n": 2})
    state, position = checkpoint.restore(tmp_path, "last", make_state(5, rows=31))
    assert position == {"n": 2}
    assert state.params["embed"]["item"].shape == (31, 6)


def two_checkpoints(run):
    checkpoint.save(run, "last", make_state(5), {"step": 5})
    return checkpoint.save(run, "last", make_state(10), {"step": 10})


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("harm", [cut, flip, os.remove, lambda path: path.write_bytes(b"")])
def test_any_single_damaged_file_leads_to_the_older_checkpoint(tmp_path, harm):
    newest = two_checkpoints(tmp_path)
    whole = tmp_path / "whole"
    shutil.copytree(newest, whole)
    files = [p.relative_to(newest) for p in newest.rglob("*") if p.is_file()]
    assert len(files) > 5
    for name in files:
        harm(newest / name)
        named = "" if name.name == "manifest.json" else rf"{re.escape(name.as_posix())} is "
        with pytest.warns(UserWarning, match=rf"last/10 is damaged \({named}.*using .*last/5 "):
            state, position = checkpoint.restore(tmp_path, "last", make_state())
        assert position == {"step": 5}
        assert_equal_bits(state, make_state(5))
        shutil.rmtree(newest)
        shutil.copytree(whole, newest)


def test_garbage_manifests(tmp_path):
    newest = two_checkpoints(tmp_path)
    for garbage in ("[1]", "null", "{", "\x00", "{}", '{"position.json": 3}', '{"leaves.json": 0, "position.json": 0}'):
        (newest / "manifest.json").write_text(garbage)
        with pytest.warns(UserWarning, match="last/10 is damaged"):
            assert checkpoint.restore(tmp_path, "last", make_state())[1] == {"step": 5}


def test_going_on_from_the_older_one_replaces_the_damaged(tmp_path):
    newest = two_checkpoints(tmp_path)
    cut(newest / "manifest.json")
    checkpoint.save(tmp_path, "last", make_state(8), {"step": 8})
    assert checkpoint.steps(tmp_path, "last") == [5, 8]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checkpoint.restore(tmp_path, "last", make_state())[1] == {"step": 8}


def test_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no whole 'best' checkpoint in .*checkpoints/best: there is none\. "):
        checkpoint.restore(tmp_path, "best", make_state())
    assert checkpoint.steps(tmp_path, "best") == []
    assert list(tmp_path.iterdir()) == []
    path = checkpoint.save(tmp_path, "best", make_state(), {})
    os.remove(path / "position.json")
    with pytest.raises(FileNotFoundError, match=r"best/7 is damaged: position\.json is missing\. .*from the start"):
        checkpoint.restore(tmp_path, "best", make_state())
    with pytest.raises(ValueError, match="kind is 'first'; expected one of"):
        checkpoint.restore(tmp_path, "first", make_state())


def test_other_shapes_and_leaves_are_named(tmp_path):
    checkpoint.save(tmp_path, "last", make_state(rows=30), {})
    shapes = r"params/embed/item: float32\[30,6\] in the checkpoint, float32\[40,6\] in the model"
    with pytest.raises(ValueError, match=shapes) as error:
        checkpoint.restore(tmp_path, "last", make_state(rows=40))
    assert "tower" not in str(error.value)
    with pytest.raises(ValueError, match=r"opt_state.*/mu/.*: float32\[.*\] in the checkpoint, absent in the model"):
        checkpoint.restore(tmp_path, "last", make_state(tx=optax.sgd(0.1)))
    other = make_state().replace(step=jnp.float32(7))
    with pytest.raises(ValueError, match=r"step: int32\[\] in the checkpoint, float32\[\] in the model"):
        checkpoint.restore(tmp_path, "last", other)


def test_left_behind_folders_are_ignored_and_later_removed(tmp_path):
    path = two_checkpoints(tmp_path)
    shutil.copytree(path, path.parent / "20.orbax-checkpoint-tmp-1234")
    shutil.copytree(path, path.parent / ".30.abcd1234.tmp")
    assert checkpoint.steps(tmp_path, "last") == [5, 10]
    assert checkpoint.restore(tmp_path, "last", make_state())[1] == {"step": 10}
    checkpoint.save(tmp_path, "last", make_state(11), {})
    assert not (path.parent / ".30.abcd1234.tmp").exists()


KILLED = """
import sys, os, signal, jax.numpy as jnp
from types import SimpleNamespace
import jax
from flax import struct
from dienjax.training import checkpoint
from dienjax.storage import manifest

@struct.dataclass
class State:
    step: jax.Array

where, run = sys.argv[1:]
checkpoint.save(run, "last", State(jnp.int32(1)), {"step": 1})
def killed(path, data, write=checkpoint.write_json):
    if path.name == where:
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, data)
checkpoint.write_json = manifest.write_json = killed
checkpoint.save(run, "last", State(jnp.int32(2)), {"step": 2})
"""

SHARDED = """
import sys, logging, jax, jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from flax import struct
logging.basicConfig(level=logging.INFO)
from dienjax.training import checkpoint

@struct.dataclass
class State:
    step: jax.Array
    table: jax.Array

assert len(jax.devices()) == 4
mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
table = jax.device_put(jnp.arange(48.0).reshape(8, 6), NamedSharding(mesh, PartitionSpec("d")))
state = State(jax.device_put(jnp.int32(3), NamedSharding(mesh, PartitionSpec())), table)
checkpoint.save(sys.argv[1], "last", state, {"epoch": 1})
again, _ = checkpoint.restore(sys.argv[1], "last", state)
assert again.table.sharding == table.sharding and (again.table == table).all()
"""


def start(program, *args, **env):
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, args)],
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@struct.dataclass
class Step:
    step: Any


@struct.dataclass
class Sharded:
    step: Any
    table: Any


def test_a_killed_save_leaves_the_checkpoint_before(tmp_path):
    processes = {name: start(KILLED, name, tmp_path / name) for name in ("position.json", "manifest.json")}
    for name, process in processes.items():
        output, _ = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, output
        assert len(list((tmp_path / name / "checkpoints" / "last").iterdir())) == 2  # what was left behind
        state, position = checkpoint.restore(tmp_path / name, "last", Step(jnp.int32(0)))
        assert position == {"step": 1}
        assert int(state.step) == 1


def test_saved_on_four_devices_restores_on_one_without_a_word(tmp_path):
    process = start(SHARDED, tmp_path, XLA_FLAGS="--xla_force_host_platform_device_count=4")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert output == ""
    like = jax.eval_shape(lambda: Sharded(jnp.int32(0), jnp.zeros((8, 6))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        state, position = checkpoint.restore(tmp_path, "last", like)
    assert position == {"epoch": 1}
    assert int(state.step) == 3
    assert state.table.devices() == jnp.zeros(()).devices()
    np.testing.assert_array_equal(state.table, np.arange(48.0).reshape(8, 6))


def test_position_is_plain_json(tmp_path):
    path = checkpoint.save(tmp_path, "last", make_state(), {"epoch": 4})
    assert json.loads((path / "position.json").read_text()) == {"epoch": 4}


@pytest.mark.parametrize("before", [False, True])
def test_a_full_disk_is_one_sentence(before, tmp_path, caplog):
    resource = pytest.importorskip("resource", reason="needs a system that limits the size of files")
    if before:
        checkpoint.save(tmp_path, "last", make_state(3), {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = make_state(7, rows=100_000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match=r"checkpoint of step 7 in .*: file too large; .*free space, and") as refused:
            checkpoint.save(tmp_path, "last", big, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ("that of step 3 is whole" in str(refused.value)) == before
    assert not caplog.records, "Orbax prints a hundred lines"
    assert os.listdir(tmp_path / "checkpoints/last") == (["3"] if before else [])
