"""Damaged runs, exports and weights: refused, or what is read back is what was written."""

import json
import shutil
import struct
import warnings
import zipfile

import numpy as np
import oracle
import pandas as pd
import pytest
from campaign import CLEAN, Reached, command, reach, requests, scratch, start
from mutations import damaged_bytes, damaged_file

from dienjax import Config, Run, predict
from dienjax.interop.files import read_weights


def test_damaged_runs(with_run, counted, draw, many, tmp_path, monkeypatch):
    """Schema, vocabularies and variables as before; the config is for people to edit, so any that is valid is right."""
    want, config = oracle.run_facts(with_run.run), Config.load(with_run.run / "config.toml")
    rows, variables = pd.read_parquet(with_run.rows), Run.variables
    kinds = ["config.toml", "schema.json", "vocab/*", "checkpoints/**/*", "store.json", "metrics.jsonl"]
    with counted("mutated runs") as tally:
        for case in range(many(150)):
            with scratch(tmp_path, f"case {case}") as folder, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                run = shutil.copytree(with_run.run, folder / "run")
                what = f"case {case}: {damaged_file(draw(case), run, kinds[case % len(kinds)])}"
                monkeypatch.setattr(Run, "variables", reach)
                try:
                    predict(run, rows)
                except Reached:
                    monkeypatch.setattr(Run, "variables", variables)
                    tally.add(*read_back(run, want, config, what))
                except CLEAN as error:
                    tally.add("refused cleanly" if str(error) else "tracebacks", what)
                except Exception as error:
                    tally.add("tracebacks", f"{what}: {type(error).__name__}: {error}")


def read_back(run, want, config, what):
    """What became of a run whose vocabularies and schema were good enough to encode rows."""
    try:
        different = oracle.difference(oracle.run_facts(run), want)
        edited = Config.load(run / "config.toml") != config
    except CLEAN as error:
        return ("refused cleanly" if str(error) else "tracebacks"), what
    except Exception as error:
        return "tracebacks", f"{what}: {type(error).__name__}: {error}"
    return ("wrong accepted" if different and not edited else "accepted rightly"), f"{what}: {different} differs"


def test_runs_are_refused_in_one_line(with_run, counted, draw, many, tmp_path):
    """Where predict and --resume meet them; nothing is written beside."""
    with counted("mutated runs: command line") as tally:
        for case in range(many(16)):
            with scratch(tmp_path, f"case {case}") as folder:
                run = shutil.copytree(with_run.run, folder / "run")
                kind = ("metrics.jsonl", "store.json", "checkpoints/last/**/*", "vocab/*")[case % 4]
                what = damaged_file(draw(case), run, kind)
                out = folder / "scored.parquet"
                argv = (
                    ["train", with_run.config, "--store", with_run.store, "--run", run, "--resume", "--quiet"]
                    if case % 2
                    else ["predict", run, "--input", with_run.rows, "--output", out]
                )
                ended = start(folder, command, *argv).end()
                outcome = "half-written" if ended.code and out.exists() else ended.outcome(lines=6)
                tally.add(outcome, f"case {case}: {argv[0]}, {what}: {ended}")


def test_damaged_exports(with_export, counted, draw, many, tmp_path):
    """A Ranker answers as before the damage, or does not start."""
    from dienjax.serving import Ranker

    asked = [*requests(draw("asked"), 20)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of long histories
        want = [Ranker(with_export.export).score(*request) for request in asked]
        with counted("mutated exports") as tally:
            for case in range(many(150)):
                with scratch(tmp_path, f"case {case}") as folder:
                    export = shutil.copytree(with_export.export, folder / "export")
                    only = ("export.json", "vocab/*", "*", "*.onnx")[case % 4]
                    what = f"case {case}: {damaged_file(draw(case), export, only)}"
                    try:
                        got = [Ranker(export).score(*request) for request in asked]
                        same = all(map(np.array_equal, got, want))
                        tally.add("accepted rightly" if same else "wrong accepted", f"{what}: other answers")
                    except CLEAN as error:
                        tally.add("refused cleanly" if str(error) else "tracebacks", what)
                    except Exception as error:
                        tally.add("tracebacks", f"{what}: {type(error).__name__}: {error}")


def test_export_json_of_another_meaning(with_export, counted, many, tmp_path):
    """Single facts of export.json are changed, as a careless hand would: none of them may change an answer."""
    from dienjax.serving import Ranker

    history = {"item": [1, 2, 3, 4, 5, 6], "category": ["c1", "c2", "c3", "c4", "c0", "c1"]}
    request = history, {"item": [4, 5], "category": ["c4", "c0"]}, {"city": "Ulm"}
    changes = {
        "max_len": [2, 0, -1, 10**9, None, "4"], "ids": ["int32", "float32", "int8", ""], "task": ["regression", 1],
        "files": [{}, [], None], "schema": [{}, None], "format": [2, "1"], "form": ["stablehlo", None],
    }  # fmt: skip
    with warnings.catch_warnings(), counted("mutated exports: facts") as tally:
        warnings.simplefilter("ignore")
        whole = Ranker(with_export.export)
        want = whole.score(*request), whole.task, whole.max_len
        for fact, values in changes.items():
            for value in values[: max(1, many(len(values)))]:
                with scratch(tmp_path, "case") as folder:
                    export = shutil.copytree(with_export.export, folder / "export")
                    facts = json.loads((export / "export.json").read_text())
                    (export / "export.json").write_text(json.dumps(facts | {fact: value}))
                    try:
                        ranker = Ranker(export)
                        same = np.array_equal(ranker.score(*request), want[0])
                        same = same and (ranker.task, ranker.max_len) == want[1:]
                        tally.add("accepted rightly" if same else "wrong accepted", f"{fact}: {value!r}")
                    except CLEAN:
                        tally.add("refused cleanly")
                    except Exception as error:
                        tally.add("tracebacks", f"{fact}: {value!r}: {type(error).__name__}: {error}")


def plain_npz(data):
    """The arrays of an .npz, by zipfile (which checks CRCs) and the format's own reader."""
    with zipfile.ZipFile(data) as archive:
        found = {}
        for name in archive.namelist():
            with archive.open(name) as file:
                found[name.removesuffix(".npy")] = np.lib.format.read_array(file, allow_pickle=False)
        return found


def plain_safetensors(path):
    """The arrays of a .safetensors file: a length, a JSON header, raw numbers, and nothing else."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    head, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    types = {"F32": np.float32, "I64": np.int64}
    return {
        name: np.frombuffer(body[slice(*told["data_offsets"])], types[told["dtype"]]).reshape(told["shape"])
        for name, told in head.items()
        if name != "__metadata__"
    }


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_damaged_weights(suffix, counted, draw, many, tmp_path):
    """.npz has checksums; .safetensors has none, so what a plain reader finds in the damaged file is right."""
    arrays = {f"layer.{i}.weight": draw(f"array {i}").normal(size=(3 + i, 4)).astype(np.float32) for i in range(5)}
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".npz":
        np.savez(whole, **arrays)
    else:
        pytest.importorskip("safetensors.numpy").save_file(arrays, whole)
    with counted(f"mutated weights: {suffix}") as tally:
        for case in range(many(130)):
            with scratch(tmp_path, f"case {case}") as folder:
                what, data = damaged_bytes(draw(case), whole.read_bytes())
                file = folder / f"weights{suffix}"
                file.write_bytes(data)
                try:
                    got = read_weights(file)
                except CLEAN as error:
                    tally.add("refused cleanly" if str(error) else "tracebacks", what)
                    continue
                except Exception as error:
                    tally.add("tracebacks", f"case {case}: {what}: {type(error).__name__}: {error}")
                    continue
                try:
                    want = arrays if suffix == ".npz" else plain_safetensors(file)
                    wrong = oracle.difference(got, want)
                except Exception as error:
                    wrong = f"a plain reader refuses it: {error!r}"
                tally.add("wrong accepted" if wrong else "accepted rightly", f"case {case}: {what}: {wrong}")
