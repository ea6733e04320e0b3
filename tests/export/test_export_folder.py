"""The export of a run is whole, says what it is and serves raw values; or it is not there, and an error says why."""

import json
import re
import subprocess
import sys
import types
import warnings
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import test_readme
from builders import SCHEMA
from dienjax import Config, Run, evaluate, predict
from dienjax.cli import main
from dienjax.export import export_run, folder, own_process, stablehlo
from dienjax.schema import Behaviour, Schema, Table
from dienjax.serving import Ranker
from dienjax.serving.folder import read_export
from dienjax.serving.spark import scores
from dienjax.storage.files import sha256
from dienjax.training.prediction_files import predict_file
from exporting import MODELS, NAMES, make_run, random_state

GRAPHS = {"ranker.onnx", "user_encoder.onnx", "candidate_scorer.onnx"}


def files_in(path):
    return {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}


def facts_of(path):
    return json.loads((path / "export.json").read_text())


@pytest.fixture(scope="module")
def empty_run(tmp_path_factory):
    """A run folder without a checkpoint."""
    config = Config.from_dict({"model": MODELS["din"]})
    return Run.create(tmp_path_factory.mktemp("empty") / "run", config, SCHEMA)


@pytest.mark.slow
def test_from_a_run_to_scores_of_raw_values(run, drift_store, tmp_path, capfd):
    """The command line's export, compared on a split too, gives what `predict` gives."""
    pytest.importorskip("jax2onnx")
    pytest.importorskip("onnxruntime")
    output = tmp_path / "exported"
    command = ["export", str(run.path), "--output", str(output), "--split", "test"]
    main(command)
    shown = capfd.readouterr()
    assert (output / "parity.txt").read_text() in shown.out
    assert "export: converting the ranker to ONNX\n" in shown.err and "WARNING" not in shown.err
    assert files_in(output) == GRAPHS | {"vocab/item.json", "vocab/category.json", "parity.txt", "export.json"}
    assert [p.name for p in tmp_path.iterdir()] == ["exported"]

    measured, samples = facts_of(output)["split"], len(drift_store.samples("test"))
    assert (measured["name"], measured["samples"], measured["candidates"]) == ("test", samples, 2 * samples)
    assert measured["largest_difference"] < 1e-6
    auc = evaluate(run, drift_store, "test")["auc"]
    assert measured["auc"] == pytest.approx({"jax": auc, "onnx": auc}, abs=1e-5)
    assert f"AUC: {auc:.5f} (jax), {auc:.5f} (onnx)" in shown.out
    assert facts_of(output)["validation"]["auc"] > 0

    items = [run.vocabulary(name)["value"].tolist() for name in ("item", "category")]
    histories = [([], []), ([items[0][3]], [items[1][0]]), ([items[0][k % 50] for k in range(70)], [items[1][1]] * 70)]
    frame = pd.DataFrame(histories, columns=["hist_item", "hist_category"])
    frame["item"], frame["category"] = [[items[0][0], items[0][7], -99]] * 3, [[items[1][0], -99, items[1][2]]] * 3
    ranker = Ranker(output)
    for row in predict(run, frame).itertuples():
        history = {"item": row.hist_item[-50:], "category": row.hist_category[-50:]}
        score_K = ranker.score(history, {"item": row.item, "category": row.category})
        np.testing.assert_allclose(score_K, row.probability, atol=1e-6)
        assert np.ptp(score_K) > 1e-4

    scores, *best = test_readme.run(test_readme.BLOCKS[test_readme.SERVING], tmp_path).splitlines()
    assert len(re.findall(r"0\.\d+", scores)) == 4 and len(best) == 2

    before = (output / "export.json").stat().st_ino
    with pytest.raises(SystemExit):
        main(command)
    assert "already exists; choose another name, or use --force" in capfd.readouterr().err
    assert (output / "export.json").stat().st_ino == before


@pytest.mark.parametrize("name", ["din", "augru", "agru"])
def test_many_rows_have_the_scores_of_predict(exported, name, tmp_path):
    """`Ranker.score_table`, the function for Spark, `predict` on a file: with every kind of field, and regression."""
    run, rng = Run.open(exported / f"run_{name}"), np.random.default_rng(0)
    length_N, count_N = rng.integers(0, 9, 40), rng.integers(1, 5, 40)
    sizes = SCHEMA.sizes()

    def lists(field, length_N):
        return [rng.integers(1, sizes[field], n).tolist() for n in length_N]

    frame = pd.DataFrame({f"hist_{b.name}": lists(b.name, length_N) for b in SCHEMA.behaviours})
    for field in ("item", "category", "slot"):
        frame[field] = lists(field, count_N)
    frame["price"] = [rng.normal(size=n).tolist() for n in count_N]
    frame["city"], frame["age"] = rng.integers(1, sizes["city"], 40), rng.normal(size=40)
    frame.to_parquet(tmp_path / "rows.parquet")
    said = "prediction" if name == "agru" else "probability"
    want = np.concatenate(predict(run, frame)[said].tolist())
    assert np.ptp(want) > 1e-3

    table = pq.read_table(tmp_path / "rows.parquet")
    predict_file(run, tmp_path / "rows.parquet", tmp_path / "scored.parquet")
    scored = {"file": pq.read_table(tmp_path / "scored.parquet")}
    scored["spark"] = pa.Table.from_batches(scores(exported / name)(table.to_batches(max_chunksize=9)))
    scored["table"] = table.append_column(said, Ranker(exported / name).score_table(table))
    for got in scored.values():
        assert got.column_names == [*frame.columns, said]
        np.testing.assert_allclose(np.concatenate(got[said].to_pylist()), want, rtol=1e-5, atol=1e-6)


def test_the_command_passes_everything_on(empty_run, tmp_path, monkeypatch, capsys):
    pytest.importorskip("jax2onnx")
    pytest.importorskip("onnxruntime")
    calls = []

    def write(run, folder, options):
        calls.append((run, options))
        (folder / "parity.txt").write_text("a table\n")

    monkeypatch.setattr(own_process, "_write_apart", write)
    options = ["--form", "onnx", "--tables", "int8", "--ids", "int32", "--split", "valid", "--store", "s", "--force"]
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "export.json").write_text('{"format": 0, "form": "", "schema": {}, "files": {}}')
    main(["export", str(empty_run.path), "--output", str(tmp_path / "out"), *options])
    assert calls == [(empty_run.path, folder.Options("onnx", "int8", "int32", "valid", str(Path("s").absolute())))]
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: exported\na table\n\n"
    assert files_in(tmp_path / "out") == {"parity.txt"}


@pytest.mark.parametrize("name", [*NAMES, "large", "programs"])
def test_export_json_lists_every_file(exported, name):
    facts = facts_of(exported / name)
    listed = files_in(exported / name) - {"export.json", "parity.txt"}
    assert facts["files"] == {file: sha256(exported / name / file) for file in listed}
    run = Run.open(exported / f"run_{'din' if name == 'programs' else name}")
    assert (facts["format"], facts["task"], facts["max_len"]) == (2, run.config.loss.task, 5)
    assert facts["form"] == ("stablehlo" if name == "programs" else "onnx")
    assert facts["tables"] == ("int8" if name == "large" else "float32")
    assert facts["checkpoint"] == {"kind": "best", "step": 30}
    assert facts["validation"] is None and "split" not in facts
    assert Schema.from_json(facts["schema"]) == run.schema
    if name != "programs":
        assert read_export(exported / name).ids == np.dtype(facts["ids"])


def test_programs_need_no_onnx(exported):
    names = {"ranker.stablehlo", "user_encoder.stablehlo", "candidate_scorer.stablehlo", "parameters.npz"}
    assert facts_of(exported / "programs")["files"].keys() == names
    assert facts_of(exported / "programs")["versions"].keys() == {"dienjax", "jax", "flax"}


def test_programs_are_compared_too(exported):
    title, _, *lines = (exported / "programs" / "parity.txt").read_text().splitlines()
    assert title == "largest difference of probability between StableHLO and JAX, both with float32 tables"
    assert len(lines) == 8 and all(float(d) <= 1e-5 for line in lines for d in line.split()[-2:])


@pytest.mark.slow
def test_programs_that_differ_are_refused(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", MODELS["din"])
    read = stablehlo._read_parameters
    changed = {"params/tower/out/bias": np.array([2.0], np.float32)}
    monkeypatch.setattr(stablehlo, "_read_parameters", lambda file: read(file) | changed)
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match=r"ranker, as exported, and JAX differ by .* in the case 'smallest'"):
        folder.write_folder(run, tmp_path / "out", folder.Options("stablehlo"))


def test_a_run_of_ready_made_ids_has_no_vocabulary(exported):
    assert not (exported / "din" / "vocab").exists()


def test_a_checkpoint_of_several_devices(exported):
    """The run of augru, whose graphs test_onnx.py compares with the model, was saved with rows on four devices."""
    shards = (exported / "shards.txt").read_text()
    assert shards == "{'category': 9, 'city': 2, 'item': 3, 'slot': 2}\n"
    run = Run.open(exported / "run_augru")
    jax.tree.map(np.testing.assert_array_equal, run.variables(), random_state(run).variables)


def test_the_chosen_metrics_are_those_of_the_checkpoint(exported, tmp_path):
    lines = [{"kind": kind, "step": step, "auc": step / 100} for kind in ("valid", "train") for step in (20, 30, 40)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "checkpoints").symlink_to(exported / "run_din" / "checkpoints")
    run = replace(Run.open(exported / "run_din"), path=tmp_path)
    assert folder._facts(run, 30, folder.Options())["validation"] == {"kind": "valid", "step": 30, "auc": 0.3}


def test_a_checkpoint_that_is_passed_over_is_said(capsys):
    def restore(*_):
        warnings.warn("checkpoint 40 is damaged", stacklevel=1)
        return types.SimpleNamespace(variables={}, step=30), {}

    run = types.SimpleNamespace(restore=restore, chosen="last", optimizer=lambda: None)
    assert folder._restored(run) == ({}, 30)
    assert capsys.readouterr().err == "export: warning: checkpoint 40 is damaged\n"


VALUES = {
    "whole": ([3, -1, 10**12], [3, -1, 10**12]),
    "number": ([0.5, 2.0], [0.5, 2.0]),
    "text": (['a"b', "Köln", ""], ['a"b', "Köln", ""]),
    "flag": ([True, False], [True, False]),
    "day": (
        [pd.Timestamp("2020-01-02"), pd.Timestamp("2021-03-04 05:06")],
        ["2020-01-02 00:00:00", "2021-03-04 05:06:00"],
    ),
    "none": ([], []),
}


def test_vocabularies(tmp_path):
    schema = Schema(tuple(Table(n, 9) for n in VALUES), tuple(Behaviour(n) for n in VALUES))
    frames = {name: pd.DataFrame({"value": values}) for name, (values, _) in VALUES.items()}
    folder._write_vocabularies(types.SimpleNamespace(schema=schema, vocabulary=frames.get), tmp_path / "vocab")
    for name, (_, expected) in VALUES.items():
        got = json.loads((tmp_path / "vocab" / f"{name}.json").read_text(encoding="utf-8"))
        assert (got, [*map(type, got)]) == (expected, [*map(type, expected)])


def test_a_failure_comes_back_readable_and_leaves_nothing(empty_run, tmp_path):
    with pytest.raises(RuntimeError, match=r"exporting .*run failed: FileNotFoundError: no whole 'last'") as error:
        export_run(str(empty_run.path), tmp_path / "out", form="stablehlo")
    assert "Traceback" in error.value.__notes__[0]
    assert [*tmp_path.iterdir()] == []


def test_a_full_disk_keeps_no_error_from_being_told(empty_run, tmp_path, monkeypatch, capsys):
    """Not even a folder is there for it to be written to."""

    def write(*_):
        raise OSError(28, "No space left on device")

    call = json.dumps({"run": str(empty_run.path), "folder": str(tmp_path / "none"), "options": {}})
    monkeypatch.setattr(own_process, "write_folder", write)
    monkeypatch.setattr(sys, "argv", ["", call, call])
    with pytest.raises(SystemExit):
        own_process._main()
    assert capsys.readouterr().out == own_process.ERROR_PREFIX + '"OSError: [Errno 28] No space left on device"\n'


def test_a_process_that_dies_is_reported(empty_run, tmp_path, monkeypatch, capfd):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho 'export: a first word'\necho 'a last word' >&2\nkill -9 $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(RuntimeError, match=r"(?s)failed: its process ended with code -9.*a last word"):
        export_run(empty_run, tmp_path / "out", form="stablehlo")
    assert capfd.readouterr().err == "export: a first word\n"
    assert [p.name for p in tmp_path.iterdir()] == ["python"]


def test_the_process_ends_with_the_one_that_started_it():
    """A parent that is killed closes its end of the process's stdin, and nothing else."""
    waits = "from dienjax.export.own_process import _end_with_parent as end; end(); print(1, flush=True); import time; "
    command = [sys.executable, "-c", waits + "time.sleep(60)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"1\n" and process.poll() is None
        process.stdin.close()
        assert process.wait(20) == 1


@pytest.mark.parametrize("missing", ["jax2onnx", "onnx", "onnxruntime"])
def test_a_missing_extra_says_what_to_install(empty_run, tmp_path, monkeypatch, missing):
    found = own_process.importlib.util.find_spec
    monkeypatch.setattr(
        own_process.importlib.util, "find_spec", lambda name: None if name == missing else found("json")
    )
    with pytest.raises(ModuleNotFoundError, match=rf"needs {missing}.*pip install 'dienjax\[onnx\]'"):
        export_run(empty_run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("version", [(0, 12, 0), (1, 0, 0)])
def test_a_jax_that_jax2onnx_cannot_read_says_what_to_install(empty_run, tmp_path, monkeypatch, version):
    monkeypatch.setattr(own_process.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(own_process.jax, "__version_info__", version)
    with pytest.raises(ImportError, match=r"needs jax below 0\.12, got \d.*pip install 'jax<0\.12'"):
        export_run(empty_run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "onxx"}, "form is 'onxx'; did you mean 'onnx'"),
        ({"tables": "float61"}, "tables is 'float61'; did you mean 'float16'"),
        ({"ids": "int16"}, "ids is 'int16'; did you mean"),
        ({"form": "stablehlo", "split": "test"}, "only ONNX graphs are compared on one: leave it out"),
    ],
)
def test_wrong_options(empty_run, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        export_run(empty_run, tmp_path / "out", **options)


def test_no_module_of_the_current_folder_is_executed(empty_run, tmp_path, monkeypatch):
    for name in ("json", "jax", "dienjax", "dienjax/export"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("open('trapped', 'w')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match=r"failed: FileNotFoundError: no whole 'last' checkpoint"):
        export_run(empty_run.path, tmp_path / "out", form="stablehlo")
    assert not (tmp_path / "trapped").exists()


def test_what_is_no_export_is_never_replaced(empty_run, drift_store, tmp_path):
    for other in (empty_run.path, drift_store.path, drift_store.path.parent):
        with pytest.raises(FileExistsError, match="is not an export; it is never replaced"):
            export_run(empty_run, other, form="stablehlo", force=True)
