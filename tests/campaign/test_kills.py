"""SIGKILL at a random moment of every command that writes: whole, absent or as before, and the next start finishes."""

import shutil

import numpy as np
import oracle
import pandas as pd
import pytest
from campaign import command, contents, left_behind, make_log, prepare_argv, scratch, start


def measured(folder, *argv):
    """The seconds of the command where nobody kills it."""
    ended = start(folder, command, *argv).end()
    assert ended.code == 0, ended
    return ended.seconds


@pytest.mark.parametrize("force", [False, True], ids=["new", "force"])
def test_prepare(force, with_store, counted, draw, many, tmp_path):
    """The target is then what it was, or the whole new store; the next start finishes and clears up."""
    want, earlier = oracle.store_facts(with_store.store), tmp_path / "earlier"
    (tmp_path / "other.csv").write_text(make_log(draw("other"), users=20).to_csv(index=False))
    measured(tmp_path, *prepare_argv(tmp_path / "other.csv", earlier))
    old = contents(earlier) if force else None
    seconds = measured(tmp_path, *prepare_argv(with_store.log, tmp_path / "measured"))
    with counted("SIGKILL: prepare" + force * " --force") as tally:
        for case in range(many(25)):
            with scratch(tmp_path, f"case {case}") as folder:
                target = folder / "store"
                if force:
                    shutil.copytree(earlier, target)
                after = seconds * draw(case).uniform(0, 1.1)
                start(folder, command, *prepare_argv(with_store.log, target, *["--force"] * force)).end(after)
                there = contents(target)
                if there != old and (there is None or oracle.difference(oracle.store_facts(target), want)):
                    tally.add("half-written", f"killed after {after:.3f} s, {there and sorted(there)}")
                    continue
                again = start(
                    folder, command, *prepare_argv(with_store.log, target, *["--force"] * target.exists())
                ).end()
                if again.code or left_behind(folder, "store") or oracle.difference(oracle.store_facts(target), want):
                    tally.add("half-written", f"next start: {again}; left: {left_behind(folder, 'store')}")
                else:
                    tally.add("accepted rightly")


def test_train_and_resume(with_run, counted, draw, many, tmp_path):
    """Killed and resumed until it ends: the checkpoint is bit for bit that of the run nobody killed."""
    w, want, found = with_run, oracle.last_state(with_run.run), oracle.validations(with_run.run)
    argv = ["train", w.config, "--store", w.store, "--quiet", "--resume", "--run"]
    seconds = measured(tmp_path, *argv, tmp_path / "measured")
    with counted("SIGKILL: train, train --resume") as tally:
        case = run = 0
        while case < many(45):
            with scratch(tmp_path, f"run {run}") as folder:
                run += 1
                target, killed = folder / "run", True
                while killed and case < many(45):
                    ended = start(folder, command, *argv, target).end(seconds * draw(case).uniform(0.1, 1.0))
                    case, killed = case + 1, ended.killed
                    damaged = oracle.damaged_checkpoints(target)
                    if damaged or (not killed and ended.code):
                        tally.add("half-written", f"case {case}: {damaged or ended}")
                    else:
                        tally.add("accepted rightly")
                ended = start(folder, command, *argv, target).end()
                different = ended.code or oracle.difference(oracle.last_state(target), want)
                if different or oracle.validations(target) != found:
                    tally.add("wrong accepted", f"after {case} kills: {different or 'metrics.jsonl'}, {ended}")
                hidden = [p.name for p in folder.rglob(".*.*") if not p.name.startswith(".talk")]
                if hidden or left_behind(folder, "run"):
                    tally.add("half-written", f"left behind: {hidden}, {left_behind(folder, 'run')}")


@pytest.mark.parametrize("force", [False, True], ids=["new", "force"])
def test_predict(force, with_run, counted, draw, many, tmp_path):
    """One file: the old one or the new one, whole."""
    argv = ["predict", with_run.run, "--input", with_run.rows, "--force", "--output"]
    seconds = measured(tmp_path, *argv, tmp_path / "want")
    want = pd.read_parquet(tmp_path / "want")
    old = pd.DataFrame({"old": [1]})
    with counted("SIGKILL: predict" + force * " --force") as tally:
        for case in range(many(12)):
            with scratch(tmp_path, f"case {case}") as folder:
                target = folder / "scored.parquet"
                if force:
                    old.to_parquet(target)
                # Most of the time goes to tracing: half of the kills fall into the last tenth, where it writes.
                low = 0.9 if case % 2 else 0.0
                start(folder, command, *argv, target).end(seconds * draw(case).uniform(low, 1.05))
                there = pd.read_parquet(target) if target.exists() else None
                if not ((there is None and not force) or (force and old.equals(there)) or want.equals(there)):
                    tally.add("half-written", f"case {case}: {there}")
                    continue
                if case % 4 == 0:
                    again = start(folder, command, *argv, target).end()
                    left = left_behind(folder, target.name)
                    if again.code or left or not want.equals(pd.read_parquet(target)):
                        tally.add("half-written", f"next start: {again}; left: {left}")
                        continue
                tally.add("accepted rightly")


@pytest.mark.parametrize("form", ["onnx", "stablehlo"])
def test_export(form, with_export, counted, draw, many, tmp_path):
    """The old export stays or the new one is whole; the process that it starts does not outlive it for long."""
    argv = ["export", with_export.run, "--form", form, "--force", "--output"]
    seconds = measured(tmp_path, *argv, tmp_path / "whole")
    names = contents(tmp_path / "whole").keys()
    with counted(f"SIGKILL: export {form}") as tally, scratch(tmp_path, "cases") as folder:
        target = shutil.copytree(tmp_path / "whole", folder / "export")
        (target / "old").write_text("old")
        old = contents(target)
        for case in range(many(7)):
            start(folder, command, *argv, target).end(seconds * np.sqrt(draw(case).uniform(0, 1.05)))
            there = contents(target)
            if there == old or (there is not None and there.keys() == names):
                tally.add("accepted rightly")
            else:
                tally.add("half-written", f"case {case}: {there and sorted(there)}")
        again = start(folder, command, *argv, target).end()
        if again.code or left_behind(folder, "export") or contents(target).keys() != names:
            tally.add("half-written", f"next start: {again}; left: {left_behind(folder, 'export')}")
