"""Several processes train one run: with the result of one, together to the end, and never with different inputs."""

import os
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from dienjax import Run
from dienjax.training import processes
from dienjax.training.checkpoint import named_leaves

SETTINGS = [
    "data.train=train_all", "data.batch_size=32", "data.lengths=[9]", "fit.epochs=2", "fit.save_every=7",
    "fit.log_every=3", "fit.patience=0", "optimizer.name=sgd", "optimizer.learning_rate=0.5", "model.dim=4",
    "model.attention_hidden=[8]", "model.auxiliary_hidden=[8]", "model.tower=[8]", "model.dropout=0.2",
]  # fmt: skip


def start(folder, run, store, count, devices, *arguments, settings=(), of_process=None):
    """`count` processes of `dienjax train` with so many devices each; `of_process` has more arguments by process."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    how = {"cwd": folder, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    how["env"] = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)}
    asked = [f"--set={setting}" for setting in (*SETTINGS, *settings)]
    started = []
    for i in range(count):
        together = ["--distributed", f"localhost:{port},{i}/{count}"] if count > 1 else []
        own = (of_process or {}).get(i, ())
        command = ["train", "dien", "--store", store, "--run", run, "--quiet", *asked, *together, *arguments, *own]
        started.append(subprocess.Popen([sys.executable, "-m", "dienjax", *map(str, command)], **how))
    return started


def ended(started, seconds=240):
    """Exit codes and outputs."""
    outputs = [process.communicate(timeout=seconds)[0] for process in started]
    return [process.returncode for process in started], outputs


def trained(folder, run, store, count, devices, *arguments, settings=()):
    """The parameters of the last checkpoint of a run that ended well."""
    codes, outputs = ended(start(folder, run, store, count, devices, *arguments, settings=settings))
    assert codes == [0] * count, outputs
    return parameters(folder / run)


def parameters(folder):
    run = Run.open(folder)
    state, _ = run.restore("last", run.optimizer())
    return {name: np.asarray(leaf) for name, leaf in named_leaves(state.params).items()}


def assert_equal(one, other, tolerance):
    for name in one:
        np.testing.assert_allclose(other[name], one[name], rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.slow
def test_two_processes_of_two_devices_train_what_one_device_trains(drift_store, tmp_path):
    path, rows = drift_store.path, ["devices.tables=rows"]
    alone = trained(tmp_path, "alone", path, 1, 1)
    together = trained(tmp_path, "together", path, 2, 2)
    assert_equal(alone, together, 1e-6)
    assert_equal(together, trained(tmp_path, "four", path, 1, 4, settings=rows), 1e-6)
    lines = [(tmp_path / run / "metrics.jsonl").read_text().count("\n") for run in ("alone", "together")]
    assert lines[0] == lines[1] > 0, "one process writes"

    trained(tmp_path, "resumed", path, 2, 2, settings=["fit.epochs=1"])
    assert_equal(together, trained(tmp_path, "resumed", path, 2, 2, "--resume"), 0)
    trained(tmp_path, "moved", path, 2, 2, settings=["fit.epochs=1"])
    assert_equal(together, trained(tmp_path, "moved", path, 1, 1, "--resume"), 1e-6)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_after_the_same_step(drift_store, tmp_path):
    path, endless = drift_store.path, ["fit.epochs=100000"]
    started = start(tmp_path, "run", path, 2, 1, settings=endless)
    metrics = tmp_path / "run" / "metrics.jsonl"
    _wait_for(lambda: metrics.exists() and metrics.stat().st_size, started)
    started[1].send_signal(signal.SIGTERM)
    codes, outputs = ended(started)
    assert codes == [128 + signal.SIGTERM] * 2, outputs
    assert all("the state is saved in run; --resume goes on" in output for output in outputs)
    step = int(Run.open(tmp_path / "run").restore("last", Run.open(tmp_path / "run").optimizer())[0].step)
    assert step > 0


@pytest.mark.slow
@pytest.mark.parametrize("dying", [0, 1])
def test_a_process_that_dies_ends_the_others_within_a_minute(drift_store, tmp_path, dying):
    started = start(tmp_path, "run", drift_store.path, 2, 1, settings=["fit.epochs=100000"])
    metrics = tmp_path / "run" / "metrics.jsonl"
    _wait_for(lambda: metrics.exists() and metrics.stat().st_size, started)
    started[dying].kill()
    since = time.monotonic()
    codes, outputs = ended(started, 60)
    assert time.monotonic() - since < 60
    assert codes[1 - dying] != 0
    assert "another process of run has ended" in outputs[1 - dying] or "another task died" in outputs[1 - dying]


@pytest.mark.slow
def test_processes_with_other_inputs_are_refused(drift_store, store, tmp_path):
    """Another setting; another store; a process that does not arrive."""
    path = drift_store.path
    for what, own in (("config", ["--set=fit.seed=1"]), ("data set", ["--store", store.path])):
        codes, outputs = ended(start(tmp_path, "run", path, 2, 1, of_process={1: own}))
        assert codes == [2, 2], outputs
        assert all(f"process 1 has another {what} than process 0" in output for output in outputs)
    alone = start(tmp_path, "run", path, 2, 1, "--wait", 5)
    alone[1].kill()
    codes, outputs = ended(alone)
    assert codes[0] != 0 and "if one is not there within 5 seconds" in outputs[0] and "DEADLINE" in outputs[0]
    assert not (tmp_path / "run").exists()


def _wait_for(condition, started, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end and all(process.poll() is None for process in started)
        time.sleep(0.2)


@pytest.mark.parametrize("address", ["localhost", "localhost:1,2/2", "localhost:1", "host:1,0/x"])
def test_an_address_of_another_form(address):
    with pytest.raises(ValueError, match=r"expected \"auto\" under SLURM.*10.0.0.1:1234,0/2"):
        processes.connect(address)


def test_no_environment_that_names_processes(capsys, monkeypatch):
    def initialize(*_, **__):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(ValueError, match="the environment does not say which processes there are"):
        processes.connect()
    assert "waiting for the other processes: if one is not there within 300 seconds" in capsys.readouterr().err


def test_a_single_process_agrees_with_itself(tmp_path):
    processes.agree("config", {"a": 1})
    assert processes.writes() and processes.count() == 1 and processes.from_first("text") == "text"
    assert processes.any_of(True) and not processes.any_of(False)
    assert processes.first_then_all(lambda: 3) == 3
    np.testing.assert_array_equal(processes.gathered(np.arange(3)), np.arange(3))
    with processes.answering(tmp_path):
        pass
