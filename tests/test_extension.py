"""The models of experiments/extension, which live outside of the package, go through every command."""

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from builders import FAST_COMPILATION, SCHEMA
from dienjax import Run, evaluate, predict
from dienjax.cli import main
from dienjax.models.contract import check_model
from dienjax.training.config import Config
from dienjax.training.progress import read_metrics

FOLDER = Path(__file__).parents[1] / "experiments/extension"
MODULES = {"fading": ["extractor", "attention", "evolution", "scorer", "tower"], "scaled_dot": ["attention", "tower"]}
SMALL = ["data.batch_size=64", "data.lengths=[4]", "fit.epochs=1"]


@pytest.fixture(scope="module", autouse=True)
def path():
    """PYTHONPATH, as far as this process is concerned."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield
    for name in MODULES:
        sys.modules.pop(name, None)


def train(name, store, run, *more):
    settings = [part for setting in SMALL for part in ("--set", setting)]
    main(["train", f"{FOLDER / name}.toml", "--store", f"{store.path}", "--run", f"{run}", "--quiet", *settings, *more])


@pytest.fixture(scope="module")
def runs(drift_store, tmp_path_factory):
    """A folder with a finished run of each."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name in MODULES:
        train(name, drift_store, folder / name)
    return folder


@pytest.mark.parametrize("name", MODULES)
def test_short_and_whole(name):
    assert len((FOLDER / f"{name}.py").read_text().splitlines()) <= 60
    config = Config.load(FOLDER / f"{name}.toml")
    check_model(config.model.build(SCHEMA), name, config.auxiliary)


def test_a_setting_of_our_models_is_none_of_theirs():
    with pytest.raises(ValueError, match=r"unknown key model\.dtype"):
        Config.from_dict({"model": {"name": "fading:FadingDIEN", "dtype": "bfloat16"}})


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_evaluate_and_predict(name, runs, drift_store):
    run = Run.open(runs / name)
    assert 0 < evaluate(run, drift_store)["auc"] < 1
    ids = {"hist_item": [[0, 1], [2]], "hist_category": [[0, 1], [2]], "item": [3, 4], "category": [3, 4]}
    both = predict(run, pd.DataFrame(ids))["probability"]
    alone = [predict(run, pd.DataFrame(ids)[i : i + 1])["probability"].iloc[0] for i in (0, 1)]
    np.testing.assert_allclose(both, alone, rtol=1e-5)


@pytest.mark.parametrize("name", MODULES)
def test_describe(name, drift_store, tmp_path, capsys):
    Run.create(tmp_path / name, Config.load(FOLDER / f"{name}.toml"), drift_store.schema)
    main(["describe", f"{tmp_path / name}"])
    said = capsys.readouterr().out
    for module in MODULES[name]:
        assert f"\n{module} " in said
    drawn = [
        element.text for element in ET.parse(tmp_path / name / "model.svg").iter("{http://www.w3.org/2000/svg}text")
    ]
    assert {*MODULES[name], "CTR loss"} <= set(drawn)


@pytest.mark.slow
def test_resume_ends_as_one_run(drift_store, tmp_path):
    train("fading", drift_store, tmp_path / "stopped")
    train("fading", drift_store, tmp_path / "stopped", "--set", "fit.epochs=2", "--resume")
    train("fading", drift_store, tmp_path / "whole", "--set", "fit.epochs=2")
    ends = [read_metrics(tmp_path / run / "metrics.jsonl")[-1] for run in ("stopped", "whole")]
    assert all(end.pop("seconds") > 0 and end.pop("peak_memory_bytes") > 0 for end in ends)
    assert ends[0] == ends[1]


@pytest.mark.slow
def test_a_warm_start_takes_their_tables(runs, drift_store, tmp_path):
    train("fading", drift_store, tmp_path / "warm", "--init-from", f"{runs / 'fading'}")
    assert json.loads((tmp_path / "warm/init.json").read_text())["tables"]["item"]["carried"] > 0


def test_a_setting_of_its_own_is_checked():
    for setting, message in (("model.keeps=0.5", r"did you mean 'keep'\?"), ("model.keep=2.0", "expected at most 1")):
        with pytest.raises(ValueError, match=message):
            Config.load(FOLDER / "fading.toml", [setting])


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_by_the_command_line_from_another_folder(name, drift_store, tmp_path):
    """Train and export; without PYTHONPATH the error says what to do."""

    def dienjax(*argv, path):
        command = [sys.executable, "-c", "from dienjax.cli import main; main()", *map(str, argv)]
        environment = os.environ | {"PYTHONPATH": str(path), "XLA_FLAGS": FAST_COMPILATION}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    settings = [part for setting in SMALL for part in ("--set", setting)]
    argv = ["train", FOLDER / f"{name}.toml", "--store", drift_store.path, "--run", "run", *settings]
    done = dienjax(*argv, path=FOLDER)
    assert done.returncode == 0, done.stderr
    failed = dienjax("evaluate", "run", path=tmp_path)
    assert failed.returncode == 2
    assert f"no module '{name}'; install the package" in failed.stderr and "PYTHONPATH" in failed.stderr
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install '.[onnx]'")
    done = dienjax("export", "run", "--output", "export", path=FOLDER)
    assert done.returncode == 0, done.stderr
    from dienjax.serving import Ranker

    shown = {"item": [2, 3, 5], "category": [2, 3, 5]}
    assert Ranker(tmp_path / "export").score({"item": [1], "category": [1]}, shown).shape == (3,)
