import inspect
import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pandas as pd
import pytest

import dienjax
from dienjax import evaluate
from dienjax.cli import COMMANDS, main
from dienjax.errors import Interrupted
from dienjax.training.progress import read_metrics


def fails(capsys, *argv):
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in argv])
    assert stopped.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_complete(capsys, command):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert COMMANDS[command].__doc__.split(".")[0].split(":")[0][:40] in capsys.readouterr().out
    for name in inspect.signature(COMMANDS[command]).parameters:
        assert f"\n  {name}: " in inspect.getdoc(COMMANDS[command])


def test_evaluate_prints_one_json_object(capsys, run):
    main(["evaluate", str(run.path), "--split", "test", "--json"])
    metrics = json.loads(capsys.readouterr().out)
    assert {"auc", "gauc", "logloss", "calibration"} <= metrics.keys() and metrics["split"] == "test"


def test_evaluate_for_a_person(capsys, run, drift_store):
    main(["evaluate", str(run.path), "--store", str(drift_store.path), "--split", "valid"])
    assert "auc          0." in capsys.readouterr().out


def test_train_then_resume(capsys, config, drift_store, tmp_path):
    config.save(tmp_path / "c.toml")
    folders = ["--store", str(drift_store.path), "--run", str(tmp_path / "run")]
    argv = ["train", str(tmp_path / "c.toml"), *folders, "--quiet"]
    main([*argv, "--set", "fit.epochs=1", "--set", "loss.alpha=0.5"])
    assert "dienjax evaluate" in capsys.readouterr().out
    assert "alpha = 0.5" in (tmp_path / "run/config.toml").read_text()
    assert "already exists" in fails(capsys, *argv)
    error = fails(capsys, *argv, "--resume")
    assert "loss.alpha: 0.5 -> 1.0" in error and "fit.epochs: 1" not in error


def test_a_run_with_the_config_in_it_is_not_replaced(capsys, run, drift_store, tmp_path):
    shutil.copytree(run.path, tmp_path / "run")
    own = tmp_path / "run" / "config.toml"
    message = fails(capsys, "train", own, "--store", drift_store.path, "--run", tmp_path / "run", "--force")
    assert f"cannot be replaced while {own}, which is in use, is inside it" in message and own.exists()


def test_train_from_an_earlier_run(capsys, run, config, drift_store, tmp_path, monkeypatch):
    """Cut off before its first step, it is as good as the earlier run, and a resume starts from the same weights."""
    started = []

    def power_cut(loop):
        started.append(loop.state)
        raise RuntimeError("power cut")

    monkeypatch.setattr("dienjax.training.loop.Loop._epoch", power_cut)
    config.save(tmp_path / "c.toml")
    argv = ["train", tmp_path / "c.toml", "--store", drift_store.path, "--run", tmp_path / "run"]
    with pytest.raises(SystemExit):
        main([*map(str, argv), "--init-from", str(run.path)])
    items = run.schema.table("item").size - 2
    assert f"item: {items} rows carried over, 0 new, 0 dropped\n" in capsys.readouterr().out
    assert "power cut" in fails(capsys, *argv, "--resume")
    assert "it started from" in fails(capsys, *argv, "--resume", "--init-from", tmp_path)
    for state in started:
        assert int(state.step) == 0
        jax.tree.map(np.testing.assert_array_equal, state.variables, run.variables())
    assert len(started) == 2
    best = max(line["auc"] for line in read_metrics(run.path / "metrics.jsonl") if line["kind"] == "valid")
    assert evaluate(tmp_path / "run", drift_store, "valid")["auc"] == pytest.approx(best, abs=1e-6)


def test_predict(run, drift_store, tmp_path, capsys, monkeypatch):
    frame = pd.DataFrame({"hist_item": [[3, 4]], "hist_category": [[0, 0]], "item": [3], "category": [0]})
    frame.to_parquet(tmp_path / "in.parquet")
    main(["predict", str(run.path), "--input", str(tmp_path / "in.parquet"), "--output", str(tmp_path / "out.parquet")])
    assert "1 rows" in capsys.readouterr().out
    plain = pd.read_parquet(tmp_path / "out.parquet")["probability"][0]
    files = ["--input", str(tmp_path / "in.parquet"), "--output", str(tmp_path / "scaled.parquet")]
    main(["predict", str(run.path), *files, "--calibrate", "isotonic", "--store", str(drift_store.path)])
    assert 0 < pd.read_parquet(tmp_path / "scaled.parquet")["probability"][0] != plain < 1

    monkeypatch.setattr("dienjax.training.prediction_files.DELAY", 0)
    capsys.readouterr()
    many = ["--input", str(tmp_path / "*n.parquet"), "--output", str(tmp_path / "many")]
    main(["predict", str(run.path), *many, "--quiet"])
    assert capsys.readouterr() == (f"{tmp_path / 'many'}: 1 rows\n", "")
    main(["predict", str(run.path), *many, "--force"])
    assert "1.00/1.00" in capsys.readouterr().err
    assert pd.read_parquet(tmp_path / "many")["probability"][0] == pytest.approx(plain, abs=1e-6)


def test_mistakes_get_one_message_and_exit_code_2(capsys, run, config, drift_store, tmp_path):
    config.save(tmp_path / "c.toml")
    new = ["--store", drift_store.path, "--run", tmp_path / "run", "--quiet"]
    assert "did you mean 'alpha'" in fails(capsys, "train", tmp_path / "c.toml", *new, "--set", "loss.alhpa=1")
    assert "dienjax train: " in fails(capsys, "train", tmp_path / "none.toml", *new)
    assert "did you mean 'train_all'" in fails(
        capsys, "train", tmp_path / "c.toml", *new, "--set", "data.train=train_al"
    )
    assert "not a run folder" in fails(capsys, "evaluate", tmp_path)
    assert "no split 'tes'" in fails(capsys, "evaluate", run.path, "--split", "tes")
    assert not (tmp_path / "run").exists()


def test_settings_are_refused_before_anything_is_read_or_made(capsys, tmp_path):
    new = ["train", "dien", "--store", tmp_path / "none", "--run", tmp_path / "run"]
    for setting, expected in (
        ("model.tower=[0]", "model.tower is [0]; expected each at least 1"),
        ("model.attention_hidden=[]", "model.attention_hidden is []; expected at least 1 item"),
        ("data.batch_size=100000000000", "data.batch_size is 100000000000; expected at most 1000000"),
        ("optimizer.learning_rate=-0.1", "optimizer.learning_rate is -0.1; expected a number above 0"),
        ("fit.seed=99999999999999999999", "fit.seed is 99999999999999999999; expected at most 4294967295"),
    ):
        assert fails(capsys, *new, "--set", setting).endswith(f"dien.toml: {expected}\n")
    assert not (tmp_path / "run").exists()
    new[1] = "dein"
    said = "no config 'dein'; expected a TOML file, or one that is shipped: din, dien"
    assert fails(capsys, *new) == f"dienjax train: {said}\n"
    assert fails(capsys, "describe", "dein") == f"dienjax describe: {said}\n"


def test_a_shipped_config_is_described_by_its_name(capsys, tmp_path):
    main(["describe", "din", "--svg", str(tmp_path / "din.svg")])
    assert capsys.readouterr().out.startswith("DIN\n")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MemoryError("Unable to allocate 3 TiB"), 2, "out of memory: Unable to allocate 3 TiB; try a smaller"),
        (RuntimeError("RESOURCE_EXHAUSTED: 3 TiB\nat 0x7f"), 2, "out of memory: RESOURCE_EXHAUSTED: 3 TiB; try a"),
        (RecursionError("too deep"), 2, "too deep"),
        (ModuleNotFoundError("No module named 'jax'", name="jax"), 2, "jax is not installed; `pip install"),
        (ModuleNotFoundError("x: pip install 'dienjax[onnx]'"), 2, "x: pip install 'dienjax[onnx]'\n"),
        (EOFError(), None, ""),
        (KeyError("bug"), None, ""),
        (KeyboardInterrupt(), 130, "stopped by SIGINT"),
    ],
)
def test_how_a_command_ends(error, code, said, capsys, tmp_path, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr("dienjax.training.prediction_files.predict_file", fail)
    argv = ["predict", str(tmp_path), "--input", "a", "--output", "b"]
    if code is None:
        with pytest.raises(type(error)):
            main(argv)
        return
    with pytest.raises(SystemExit) as left:
        main(argv)
    assert left.value.code == code
    line = capsys.readouterr().err
    assert line.startswith(f"dienjax predict: {said}") and line.count("\n") == 1


def test_the_version_is_that_of_the_package():
    command = [sys.executable, "-m", "dienjax", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"dienjax {dienjax.__version__}\n"


def test_a_reader_that_has_enough_ends_it_silently(drift_store):
    command = [sys.executable, "-c", "from dienjax.cli import main; main()", "inspect", str(drift_store.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_signal_is_the_exit_code(capsys, config, drift_store, tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise Interrupted(15, tmp_path)

    monkeypatch.setattr("dienjax.training.loop.fit_store", stopped)
    config.save(tmp_path / "c.toml")
    with pytest.raises(SystemExit) as left:
        main(["train", str(tmp_path / "c.toml"), "--store", str(drift_store.path), "--run", str(tmp_path / "run")])
    assert left.value.code == 143
    assert "stopped by SIGTERM" in capsys.readouterr().err


def test_from_a_click_log_to_a_score(capsys, tmp_path):
    """Events and impressions in text files: prepared, inspected, trained on, and scored with the log's own values."""
    rng = np.random.default_rng(0)
    events = pd.DataFrame({"user": rng.integers(0, 40, 300), "item": rng.integers(0, 9, 300), "time": range(300)})
    events["kind"] = events["item"] % 3
    shown = events.sample(80, random_state=0).assign(
        place=lambda f: f["item"] % 2, price=0.5, click=lambda f: f["kind"] > 0
    )
    shown = pd.concat([shown, shown[:30].assign(item=3, kind=0, click=False)])  # two candidates at one time
    shown["click"] = shown["click"].astype(int)
    events.to_csv(tmp_path / "events.csv.gz", index=False)
    shown.to_csv(tmp_path / "shown.tsv", index=False, sep="\t")
    files = ["--events", tmp_path / "events.csv.gz", "--impressions", tmp_path / "shown.tsv"]
    columns = ["--user", "user", "--item", "item", "--time", "time", "--attribute", "kind", "--label", "click"]
    columns += ["--context", "place", "--dense", "price", "--hist-label", "item >= 2"]
    fractions = ["--test-fraction", "0.3", "--valid-fraction", "0.2", "--min-count", "2"]
    main([str(a) for a in ("prepare", *files, *columns, *fractions, "--out", tmp_path / "store")])
    assert "40 users, 300 events, 110 impressions" in capsys.readouterr().out
    main(["inspect", str(tmp_path / "store")])
    assert "no leak" in capsys.readouterr().out
    (tmp_path / "c.toml").write_text(
        '[model]\nname = "DIN"\ndim = 2\nattention_hidden = [4]\ntower = [4]\n[data]\nbatch_size = 32\nlengths = 1\n'
        "max_len = 5\n[fit]\nepochs = 1\n"
    )
    main([str(a) for a in ("train", tmp_path / "c.toml", "--store", tmp_path / "store", "--run", tmp_path / "run")])
    main(["evaluate", str(tmp_path / "run"), "--json"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["logloss"] > 0
    row = {"hist_item": [[1, 2, 99]], "hist_kind": [[1, 2, 0]], "item": [[3, 4]], "kind": [[0, 1]], "place": [[1, 0]]}
    pd.DataFrame(row | {"price": [[0.5, 1.5]]}).to_parquet(tmp_path / "rows.parquet")
    main(["predict", str(tmp_path / "run"), "--input", str(tmp_path / "rows.parquet"), "--output", str(tmp_path / "p")])
    assert [0 < p < 1 for p in pd.read_parquet(tmp_path / "p")["probability"][0]] == [True, True]


def test_prepare_says_what_is_wrong_in_one_line(capsys, tmp_path):
    (tmp_path / "a.csv").write_text("user,item,time\n1,2,soon\n")
    argv = ["prepare", "--events", tmp_path / "a.csv", "--user", "user", "--item", "item", "--time", "time", "--out"]
    error = fails(capsys, *argv, tmp_path / "s")
    assert "events: time column 'time' holds 'soon' in line 2 of" in error
    assert error.count("\n") == 1
