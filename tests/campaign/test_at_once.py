"""Two of each at once: each ends rightly or with one clear line, and the result is whole."""

import shutil
import time

import oracle
import pandas as pd
import pytest
from campaign import command, contents, left_behind, make_log, prepare_argv, scratch, start


def both(folder, pause, first, second):
    """Two commands, the second started so many seconds after the first."""
    started = [start(folder, command, *first), start(folder, late, pause, *second)]
    return [one.end() for one in started]


def late(pause, *argv):
    time.sleep(pause)
    command(*argv)


def outcome(ended, wrong):
    """The outcome of two that ran at once."""
    outcomes = [one.outcome() for one in ended]
    if "tracebacks" in outcomes:
        return "tracebacks"
    if outcomes == ["refused cleanly"] * 2:
        return "wrong accepted"  # one of them has to get through
    return "half-written" if wrong else outcomes[1]


@pytest.mark.parametrize("old", [False, True], ids=["new", "old"])
def test_prepare(old, with_store, counted, draw, many, tmp_path):
    """The store of one of the two logs, whole."""
    logs = [with_store.log, tmp_path / "other.csv"]
    logs[1].write_text(make_log(draw("other"), users=50).to_csv(index=False))
    for number, log in enumerate(logs):
        assert start(tmp_path, command, *prepare_argv(log, tmp_path / f"want{number}")).end().code == 0
    want = [oracle.store_facts(tmp_path / f"want{number}") for number in (0, 1)]
    with counted("at once: prepare" + old * " --force") as tally:
        for case in range(many(16)):
            with scratch(tmp_path, f"case {case}") as folder:
                target = folder / "store"
                if old:
                    shutil.copytree(tmp_path / "want0", target)
                force = ["--force"] if old or case % 2 else []
                pause = 0.3 * draw(case).random()
                ended = both(folder, pause, *[prepare_argv(log, target, *force) for log in logs])
                there = oracle.store_facts(target) if contents(target) else {}
                wrong = all(oracle.difference(there, w) for w in want) or left_behind(folder, "store")
                tally.add(outcome(ended, wrong), f"case {case}: {wrong}; {ended[0]}; {ended[1]}")


@pytest.mark.parametrize("resume", [False, True], ids=["new", "resume"])
def test_train(resume, with_run, counted, draw, many, tmp_path):
    """The checkpoint and the validations of one training that was alone."""
    w, want, found = with_run, oracle.last_state(with_run.run), oracle.validations(with_run.run)
    with counted("at once: train" + resume * " --resume") as tally:
        for case in range(many(6)):
            with scratch(tmp_path, f"case {case}") as folder:
                target = folder / "run"
                argv = ["train", w.config, "--store", w.store, "--run", target, "--quiet", *["--resume"] * resume]
                ended = both(folder, 2 * draw(case).random(), argv, argv)
                wrong = ""
                if not all(one.code for one in ended):
                    wrong = oracle.difference(oracle.last_state(target), want) or oracle.damaged_checkpoints(target)
                    wrong = wrong or ("" if oracle.validations(target) == found else "other validations")
                    wrong = wrong or left_behind(folder, "run")
                tally.add(outcome(ended, wrong), f"case {case}: {wrong}; {ended[0]}; {ended[1]}")


def test_predict(with_run, counted, draw, many, tmp_path):
    argv = ["predict", with_run.run, "--input", with_run.rows, "--force", "--output"]
    assert start(tmp_path, command, *argv, tmp_path / "want").end().code == 0
    want = pd.read_parquet(tmp_path / "want")
    with counted("at once: predict") as tally:
        for case in range(many(5)):
            with scratch(tmp_path, f"case {case}") as folder:
                target = folder / "scored"
                ended = both(folder, 0.2 * draw(case).random(), [*argv, target], [*argv, target])
                wrong = not (target.exists() and want.equals(pd.read_parquet(target))) or left_behind(folder, "scored")
                tally.add(outcome(ended, wrong), f"case {case}: {ended[0]}; {ended[1]}")


def test_export(with_export, counted, draw, many, tmp_path):
    with counted("at once: export") as tally:
        for case in range(many(2)):
            with scratch(tmp_path, f"case {case}") as folder:
                argv = ["export", with_export.run, "--output", folder / "export", "--form", "stablehlo", "--force"]
                ended = both(folder, draw(case).random(), argv, argv)
                listed = {"export.json", "parity.txt", "parameters.npz"}
                wrong = not listed <= (contents(folder / "export") or {}).keys() or left_behind(folder, "export")
                tally.add(outcome(ended, wrong), f"case {case}: {wrong}; {ended[0]}; {ended[1]}")
