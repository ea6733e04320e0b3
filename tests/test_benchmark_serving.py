"""The serving benchmark finds a wrong answer, and its tables come out whole."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dienjax import Behaviour, Config, DataConfig, FitConfig, ModelConfig, Schema, Table, fit_store, prepare
from dienjax.serving import Ranker

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def repository(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


class Served:
    """Gives each request the probabilities of its own first candidate's id; with `wrong`, one request another's."""

    wrong = False

    def __init__(self, folder, threads):
        pass

    def score(self, history, candidates):
        id = int(candidates["item"][0].removeprefix("item "))
        return np.array([id - (self.wrong and id == 7), 0.5], np.float32) / 100


@pytest.fixture
def asked(tmp_path):
    """A file of ten requests of two candidates, and the answers that `Served` gives them."""
    ids = {name: np.full((10, 3), 4) for name in ("hist_item", "hist_category")} | {"category": np.full((10, 2), 5)}
    item_NK = np.stack([np.arange(10), np.arange(10)], axis=1)
    want_NK = np.stack([np.arange(10), np.full(10, 0.5)], axis=1) / 100
    np.savez(tmp_path / "asked.npz", **ids, item=item_NK, want_NK=want_NK)
    return str(tmp_path / "asked.npz")


@pytest.mark.parametrize("clients", [1, 3])
def test_a_wrong_answer_fails_the_load_test(asked, monkeypatch, clients):
    from experiments.benchmark.serving_load import load

    monkeypatch.setattr("dienjax.serving.Ranker", Served)
    found = load("unused", asked, users=0, threads=1, clients=clients)["cold user"]
    assert 0 < found["p50"] <= found["p95"] <= found["p99"] and found["per_s"] > 0
    monkeypatch.setattr(Served, "wrong", True)
    with pytest.raises(ValueError, match=r"1 of 10 answers are wrong; that of request 7 is 0\.01 from JAX's"):
        load("unused", asked, users=0, threads=1, clients=clients)


def test_an_answer_that_is_no_number_is_wrong():
    from experiments.benchmark.serving_model import compare

    with pytest.raises(ValueError, match="1 of 2 answers are wrong; that of request 1 is nan"):
        compare("scorer", np.array([[0.5], [np.nan]]), np.array([[0.5], [0.5]]))


def test_a_client_that_fails_ends_the_load_test():
    from experiments.benchmark.serving_load import answered

    with pytest.raises(ZeroDivisionError):
        answered(lambda a, b: a / b, [(1, 1), (1, 0), (1, 1)], 2)
    assert answered(lambda a, b: a / b, [(n, 1) for n in range(7)], 3)[0] == list(range(7))


def test_threads_are_compared_and_the_default_is_that_of_ranker():
    from experiments.benchmark.serving_load import compared, verdict
    from experiments.benchmark.serving_model import DEFAULT

    speeds = {(1, 1): 10.0, (1, 8): 20.0, (2, 1): 15.0, (2, 8): 5.0}
    rows = [{"what": "cold user", "threads": t, "clients": c, "per_s": speed} for (t, c), speed in speeds.items()]
    compared(rows)
    assert [row.get("times_one") for row in rows] == [None, None, 1.5, 0.25]
    assert verdict(rows).startswith("with 2 threads a call 1 of 2 cases have more requests/s than with 1, at the med")
    assert inspect.signature(Ranker).parameters["threads"].default == DEFAULT


def test_scoring_is_compared_with_each_library():
    from experiments.benchmark.serving_scoring import compared

    rows = compared("T = 50", 10, {"scorer, 1 a call": 2.0, "deepctr-torch": 8.0, "torch-rechub": 3.0})
    assert (rows[0]["over_deepctr-torch"], rows[0]["over_torch-rechub"]) == (4, 1.5)
    assert [list(row) for row in rows[1:]] == [["histories", "K", "what", "ms"]] * 2


def test_what_an_export_says_of_its_tables(tmp_path):
    from experiments.benchmark.serving_reduced import of_split

    schema = Schema((Table("item", 100, 18), Table("category", 10, 8)), (Behaviour("item"), Behaviour("category")))
    split = {"candidates": 6, "largest_difference": 0.01, "auc": {"jax": 0.75, "onnx": 0.5}}
    (tmp_path / "export.json").write_text(json.dumps({"schema": schema.to_json(), "split": split}))
    found = of_split(tmp_path, "int8")
    assert found == {
        "tables_mb": round((100 * 22 + 10 * 12) / 1e6, 3), "candidates": 6, "largest": 0.01, "auc": 0.5,
        "auc_change": -0.25,
    }  # fmt: skip


@pytest.mark.slow
def test_the_tables_of_a_random_model(tmp_path):
    pytest.importorskip("jax2onnx")
    command = [sys.executable, "-m", "experiments.benchmark", "serving", "--tables", "scoring", "load", "export"]
    command += ["--events", "5000", "--K", "2", "--users", "2", "--clients", "2", "--requests", "20", "--rows", "1000"]
    command += ["--rounds", "1", "--seconds", "0.01", "--results", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    scoring, load, export = (_rows(tmp_path, name) for name in ("scoring", "load", "export"))
    assert len(scoring) >= 2 * 6 and all(row["ms"] > 0 for row in scoring)
    assert len(load) == 2 * 2 + 3 + 1 and all(0 < row["p50"] <= row["p99"] and row["per_s"] > 0 for row in load)
    assert [row["V"] for row in export] == [1000] and export[0]["first_s"] < export[0]["export_s"]
    assert len(list(tmp_path.glob("serving_*.png"))) == 2


@pytest.mark.slow
def test_the_table_of_a_trained_model(tmp_path):
    pytest.importorskip("jax2onnx")
    from dienjax.data.drift import DriftWorld
    from experiments.benchmark import serving

    columns = {"user": "user", "item": "item", "time": "time", "attributes": ["category"], "protocol": "last"}
    store = prepare(DriftWorld(users=100).log(), tmp_path / "store", **columns)
    config = Config(ModelConfig("DIN"), DataConfig("train_all", max_len=5, lengths=1), fit=FitConfig(epochs=1))
    run = fit_store(config, store, tmp_path / "run", progress=False)
    serving.main(run=run.path, tables=("reduced",), rounds=1, seconds=0.01, results=tmp_path)
    rows = _rows(tmp_path, "reduced")
    assert [row["tables"] for row in rows] == ["float32", "float16", "int8"]
    assert rows[0]["largest"] <= 1e-5 < rows[1]["largest"] < rows[2]["largest"] < 0.1
    assert all(0 <= row["auc"] <= 1 and abs(row["auc_change"]) < 0.1 and row["ms"] > 0 for row in rows)


def _rows(results, name):
    return json.loads((results / f"serving_{name}.json").read_text())["rows"]
