"""Names, pickles, archives, modules and links made to harm: nothing runs, and nothing outside the target changes."""

import gzip
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from campaign import command, contents, left_behind, prepare_argv, scratch, start

from dienjax import Behaviour, Schema, Sparse, Table
from dienjax.interop.files import read_weights

NAMES = [
    "../../pwned", "../pwned", "/tmp/pwned-by-name", "a/b", "a\\b", "..\\pwned", ".", "..", "", ".hidden", "\x00",
    "a\x00b",
    "a\nb", "x" * 300, "é" * 200, "~", "con", "ключ", "a b", "-rf", "$(touch pwned)", "%s{0}", "events", "vocab",
    "store.json",
    "length", "mask", "label", "hist_item", "neg_hist_item", "item", "user", "time", "probability", "params",
    "embedder",
]  # fmt: skip


def is_dangerous(name):
    """Whether a file of that name would be another's, or none."""
    return not name or any(c in name for c in "/\\\x00") or name.startswith(".")


class Touch:
    """What touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_names_of_columns(with_store, counted, many, tmp_path):
    """Prepared and trained, or refused by prepare: not a name that fails only afterwards; written inside alone."""
    with counted("hostile names: columns") as tally:
        for role in ("--attribute", "--user-attribute", "--item"):
            for name in NAMES[: max(4, many(len(NAMES)))]:
                with scratch(tmp_path, "deep") as outer:
                    folder = outer / "in" / "here"
                    folder.mkdir(parents=True)
                    frame = pd.read_csv(with_store.log)
                    if name not in frame:
                        frame = frame.rename(columns={"category": name})
                    pd.DataFrame(frame).to_parquet(folder / "log.parquet", index=False)
                    item = name if role == "--item" else "item"
                    more = [] if role == "--item" else [f"{role}={name}"]
                    argv = ["prepare", "--events", folder / "log.parquet", "--out", folder / "store", "--user", "user"]
                    argv += [f"--item={item}", "--time", "time", *more]
                    argv += ["--test-fraction", "0.3", "--valid-fraction", "0.3"]
                    outcome, said = judged(folder, with_store, argv)
                    outside = left_behind(outer, "in") + left_behind(outer / "in", "here")
                    outside += left_behind(folder, "log.parquet", "store", "run")
                    outside += [name] * Path("/tmp/pwned-by-name").exists()
                    tally.add("outside the target" if outside else outcome, f"{role} {name[:30]!r}: {said}, {outside}")


def judged(folder, whole, argv):
    """The outcome of preparing, and of a training of one epoch where that went well."""
    ended = start(folder, command, *argv).end()
    outcome = ended.outcome()
    if outcome != "accepted rightly":
        return "half-written" if (folder / "store").exists() else outcome, ended
    train = [
        "train",
        whole.config,
        "--store",
        folder / "store",
        "--run",
        folder / "run",
        "--set",
        "fit.epochs=1",
        "--quiet",
    ]
    ended = start(folder, command, *train).end()
    return ended.outcome() if ended.code == 0 else "wrong accepted", ended


def test_names_in_a_schema(counted, tmp_path):
    """A name that would be a path is no name, wherever it stands in a schema."""
    item = Table("item", 9, 4)
    forms = {
        "table": lambda n: Schema((Table(n, 9, 4),), (Behaviour("item", n),)),
        "behaviour": lambda n: Schema((item,), (Behaviour("item"), Behaviour(n, "item"))),
        "sparse": lambda n: Schema((item,), (Behaviour("item"),), (Sparse(n, "item"),)),
    }
    with counted("hostile names: schemas") as tally:
        for form, make in forms.items():
            for name in NAMES:
                try:
                    Schema.from_json(make(name).to_json())
                    tally.add("wrong accepted" if is_dangerous(name) else "accepted rightly", f"{form} {name[:30]!r}")
                except ValueError:
                    tally.add("refused cleanly")


def test_names_in_a_store(with_store, counted, many, tmp_path):
    """A store whose schema names a table ../../pwned, all else made to fit: a run would write its vocabulary there."""
    with counted("hostile names: stores") as tally:
        for name in ("../../pwned", "../../../pwned", str(tmp_path / "pwned"))[: many(3)]:
            with scratch(tmp_path, "deep/er/still") as folder:
                store = shutil.copytree(with_store.store, folder / "store")
                facts = json.loads((store / "schema.json").read_text())
                for table in facts["tables"]:
                    table["name"] = name if table["name"] == "category" else table["name"]
                for field in facts["behaviours"]:
                    field["table"] = name if field["table"] == "category" else field["table"]
                (store / "schema.json").write_text(json.dumps(facts))
                info = json.loads((store / "store.json").read_text())
                try:
                    info["schema_hash"] = Schema.from_json(facts).hash
                except ValueError:
                    tally.add("refused cleanly")
                    continue
                (store / "store.json").write_text(json.dumps(info))
                there = (store / "vocab" / f"{name}.parquet").resolve()
                there.write_bytes((store / "vocab/category.parquet").read_bytes())
                before = {*tmp_path.rglob("*pwned*")}
                argv = ["train", with_store.config, "--store", store, "--run", folder / "run" / "er" / "run", "--quiet"]
                ended = start(folder, command, *argv, "--set", "fit.epochs=1").end()
                outcome = "wrong accepted" if ended.code == 0 else ended.outcome()
                outside = {*tmp_path.rglob("*pwned*")} - before
                tally.add("outside the target" if outside else outcome, f"{name}: {ended}")
                there.unlink()


def test_pickles(with_run, with_store, counted, tmp_path):
    """Pickles where arrays belong, in every kind of file that is read."""
    with counted("hostile pickles") as tally:
        for kind in (".npz", ".npy in .npz", ".pt", "store"):
            with scratch(tmp_path, "case") as folder:
                canary = folder / "canary"
                evil = np.array([Touch(canary)], object)
                if kind == "store":
                    store = shutil.copytree(with_store.store, folder / "store")
                    np.save(store / "events/item.npy", evil, allow_pickle=True)
                    ended = start(folder, command, "evaluate", with_run.run, "--store", store).end()
                    outcome, said = ended.outcome(), str(ended)
                else:
                    file = folder / f"weights{'.pt' if kind == '.pt' else '.npz'}"
                    if kind == ".npz":
                        np.savez(file, a=evil)
                    else:
                        np.save(folder / "a.npy", evil, allow_pickle=True)
                        file.write_bytes(evil.dumps())
                    try:
                        read_weights(file)
                        outcome, said = "wrong accepted", ""
                    except (ValueError, ImportError) as error:
                        outcome, said = "refused cleanly", str(error)
                    except Exception as error:
                        outcome, said = "tracebacks", repr(error)
                tally.add("outside the target" if canary.exists() else outcome, f"{kind}: {said}")


def write_weights_bomb(path, gigabytes):
    """An .npz of a few MB with an array of zeros of that size."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w", force_zip64=True) as file,
    ):
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": (gigabytes << 28,)}
        )  # fmt: skip
        for _ in range(gigabytes * 16):
            file.write(bytes(1 << 26))


def read_bomb(path):
    command("import-weights", path, "--source", "torch_rechub", "--model", "DIN", "--schema", path.parent / "store",
            "--columns", "city", "item", "category", "--run", path.parent / "run")  # fmt: skip


def test_archives_that_unpack_to_gigabytes(with_store, counted, tmp_path):
    """In 1.5 GB of memory: one line, and nothing left."""
    with counted("hostile archives") as tally, scratch(tmp_path, "bombs") as folder:
        shutil.copytree(with_store.store, folder / "store")
        write_weights_bomb(folder / "weights.npz", 2)
        ended = start(folder, read_bomb, folder / "weights.npz", memory=3 << 29).end()
        outcome = "half-written" if (folder / "run").exists() else ended.outcome()
        tally.add("wrong accepted" if outcome == "accepted rightly" else outcome, f".npz: {ended}")
        head = b"user,item,time,category,city,rating\n"
        for name, piece in {"one endless line": b"0" * (1 << 26), "one endless quote": b'"' + b"0" * (1 << 26)}.items():
            with gzip.open(folder / "log.csv.gz", "wb", 1) as file:
                file.write(head)
                for _ in range(32):
                    file.write(piece)
            argv = prepare_argv(folder / "log.csv.gz", folder / "out")
            ended = start(folder, command, *argv, memory=3 << 29).end()
            outcome = "half-written" if (folder / "out").exists() else ended.outcome()
            tally.add("wrong accepted" if outcome == "accepted rightly" else outcome, f"{name}: {ended}")


@pytest.mark.parametrize("form", ["onnx", "stablehlo"])
def test_modules_in_the_current_folder(form, with_export, counted, tmp_path):
    """An export started where somebody has put a json.py, a numpy.py, ... runs none of them."""
    with counted("hostile modules") as tally, scratch(tmp_path, "here") as folder:
        for name in ("json", "numpy", "jax", "onnx", "pandas", "pyarrow", "tomllib", "dataclasses", "sitecustomize"):
            (folder / f"{name}.py").write_text(
                f"open({str(folder / 'canary')!r}, 'a').write({name!r})\nraise SystemExit(3)\n"
            )
        argv = ["export", with_export.run, "--output", folder / "out", "--form", form]
        ended = start(folder, in_folder, folder, *argv).end(limit=300)
        canary = folder / "canary"
        tally.add("outside the target" if canary.exists() else ended.outcome(), f"{canary.exists()}, {ended}")


def in_folder(folder, *argv):
    os.chdir(folder)
    command(*argv)


def test_what_is_not_ours_is_not_replaced(with_run, counted, draw, many, tmp_path):
    """--force replaces a store, a run, an export, a demo; another folder, a link and what a link names stay."""
    w = with_run
    commands = {
        "prepare": lambda out: prepare_argv(w.log, out),
        "train": lambda out: ["train", w.config, "--store", w.store, "--run", out, "--quiet", "--set", "fit.epochs=1"],
        "export": lambda out: ["export", w.run, "--output", out, "--form", "stablehlo"],
        "predict": lambda out: ["predict", w.run, "--input", w.rows, "--output", out],
        "demo": lambda out: ["demo", "--out", out, "--epochs", "1"],
    }
    cases = [(name, kind) for name in commands for kind in ("folder", "link to a folder", "store.json inside")]
    with counted("--force on what is not ours") as tally:
        for name, kind in (cases[i] for i in draw().permutation(len(cases))[: many(len(cases))]):
            with scratch(tmp_path, "case") as folder:
                precious = folder / "precious"
                (precious / "photos").mkdir(parents=True)
                (precious / "photos" / "1.jpg").write_text("the only copy")
                if kind == "store.json inside":
                    (precious / "store.json").write_text("[]")
                target = precious
                if kind.startswith("link"):
                    target = folder / "link"
                    target.symlink_to(precious)
                before = contents(precious)
                # What takes long has already gone wrong: an old folder is refused before the work.
                force = [] if name == "demo" else ["--force"]
                ended = start(folder, command, *commands[name](target), *force).end(15 if name == "demo" else None)
                intact = contents(precious) == before
                outcome = ended.outcome() if intact else "outside the target"
                if name == "demo" and intact and ended.killed:
                    outcome = "wrong accepted"
                tally.add(outcome, f"{name} --force on a {kind}: {ended}")


def test_links_inside_a_store(with_store, counted, tmp_path):
    """A file of a store that is a link out of it: replacing the store removes the link alone."""
    with counted("hostile links") as tally, scratch(tmp_path, "case") as folder:
        store = shutil.copytree(with_store.store, folder / "store")
        (folder / "far").mkdir()
        (folder / "far" / "kept").write_text("kept")
        (store / "events" / "link").symlink_to(folder / "far")
        (store / "vocab" / "link").symlink_to(folder / "far" / "kept")
        ended = start(folder, command, *prepare_argv(with_store.log, store, "--force")).end()
        intact = (folder / "far" / "kept").read_text() == "kept" and not (store / "events" / "link").exists()
        tally.add(ended.outcome() if intact else "outside the target", str(ended))
