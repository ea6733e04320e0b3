"""An event store, a run and an export that version 0.1 wrote evaluate, predict, resume and serve as they did."""

import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dienjax import Run, Store, evaluate, fit_store, predict

FROZEN = Path(__file__).parent / "reference/frozen/folders_0.1.tar.xz"
FRAME = pd.DataFrame(
    {
        "hist_item": [[100, 105, 111], [103]],
        "hist_category": [["c0", "c1", "c3"], ["c3"]],
        "item": [[104, 109, 999], [100, 101, 102]],
        "category": [["c0", "c1", "c2"], ["c0", "c1", "c2"]],
        "city": ["A", "B"],
    }
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    path = tmp_path_factory.mktemp("0.1")
    with tarfile.open(FROZEN) as archive:
        archive.extractall(path, filter="data")
    return path


@pytest.fixture(scope="module")
def expected(folders):
    return json.loads((folders / "expected.json").read_text())


def assert_metrics(got, expected):
    assert got.keys() == expected.keys()
    np.testing.assert_allclose([got[name] for name in expected], list(expected.values()), rtol=2e-4)


def test_evaluate_and_predict(folders, expected):
    run = Run.open(folders / "run")
    assert_metrics(evaluate(run, Store.open(folders / "store")), expected["evaluate"])
    got = predict(run, FRAME)["probability"].tolist()
    np.testing.assert_allclose(got, expected["predict"], rtol=1e-5)


def test_resume(folders, expected, tmp_path):
    shutil.copytree(folders / "run", tmp_path / "run")
    config = Run.open(tmp_path / "run").config
    config = replace(config, fit=replace(config.fit, epochs=3))
    run = fit_store(config, Store.open(folders / "store"), tmp_path / "run", resume=True, progress=False)
    assert_metrics(evaluate(run, Store.open(folders / "store")), expected["resumed"])


def test_serve(folders, expected):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install '.[onnx]'")
    from dienjax.serving import Ranker

    ranker = Ranker(folders / "export")
    for row, probability_K in zip(FRAME.to_dict("records"), expected["predict"], strict=True):
        history = {name: row[f"hist_{name}"] for name in ("item", "category")}
        got_K = ranker.score(history, {name: row[name] for name in history}, {"city": row["city"]})
        np.testing.assert_allclose(got_K, probability_K, rtol=1e-5)
