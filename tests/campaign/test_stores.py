"""A damaged store is not trained on, not measured with and not called sound, unless it reads back as it was."""

import shutil
import warnings

import numpy as np
import oracle
import pytest
from campaign import CLEAN, Reached, command, reach, scratch, start
from mutations import damaged_file

from dienjax import Config, Run, Store, evaluate, fit_store
from dienjax.inspection.inspect import inspect_store


class Wordless(Exception):
    """A refusal that says nothing."""


@pytest.fixture
def readers(with_run, monkeypatch, tmp_path):
    """Training up to the new run folder, an evaluation up to the weights, and the inspection, by name."""
    config, run = Config.load(with_run.config), Run.open(with_run.run)
    monkeypatch.setattr(Run, "create", reach)
    monkeypatch.setattr(Run, "variables", reach)
    return {
        "train": lambda path: fit_store(config, Store.open(path), tmp_path / "run", progress=False),
        "evaluate": lambda path: evaluate(run, Store.open(path), "test"),
        "inspect": inspect_store,
    }


def taken(readers, path):
    """By which readers the store was taken; raises what is no clean refusal."""
    found = []
    for name, reader in readers.items():
        try:
            reader(path)
            found.append(name)
        except Reached:
            found.append(name)
        except CLEAN as error:
            if not str(error):
                raise Wordless(f"{name}: {type(error).__name__}") from error
    return found


def unlike(path, want):
    """What of a store does not read back as it was."""
    try:
        return oracle.difference(oracle.store_facts(path), want)
    except CLEAN as error:
        return f"a part that cannot be read ({error})"


def judge(tally, readers, path, want, what):
    """Counts one damaged store."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            names = taken(readers, path)
            different = names and unlike(path, want)
    except Exception as error:
        tally.add("tracebacks", f"{what}: {type(error).__name__}: {error}")
        return
    if names and different:
        tally.add("wrong accepted", f"{what}: {', '.join(names)} took it; not as it was: {different}")
    else:
        tally.add("accepted rightly" if names else "refused cleanly")


def test_damaged_stores(with_run, readers, counted, draw, many, tmp_path):
    want = oracle.store_facts(with_run.store)
    assert taken(readers, with_run.store) == [*readers]
    with counted("mutated stores") as tally:
        for case in range(many(260)):
            with scratch(tmp_path, f"case {case}") as folder:
                store = shutil.copytree(with_run.store, folder / "store")
                judge(tally, readers, store, want, f"case {case}: {damaged_file(draw(case), store)}")


def test_other_dtypes_and_values(with_run, readers, counted, draw, many, tmp_path):
    """Arrays that are whole but are not those that were written: inverted, shuffled, of another dtype or rank."""
    want = oracle.store_facts(with_run.store)
    change = {
        "inverted": lambda a: a.max(initial=0) - a,
        "reversed": lambda a: a[::-1],
        "float": lambda a: a.astype(np.float16),
        "wider": lambda a: a.astype(np.float64 if a.dtype.kind == "f" else np.int64),
        "bytes swapped": lambda a: a.astype(a.dtype.newbyteorder()),
        "a column": lambda a: a[:, None],
        "text": lambda a: a.astype(str),
        "off by one": lambda a: a + np.ones(1, a.dtype),
        "not a number": lambda a: np.where(np.arange(len(a)) == 0, np.nan, a),
        "objects": lambda a: a.astype(object),
    }
    files = sorted(p.relative_to(with_run.store) for p in with_run.store.rglob("*.npy"))
    with counted("mutated stores: other arrays") as tally:
        for case in range(many(120)):
            with scratch(tmp_path, f"case {case}") as folder:
                store = shutil.copytree(with_run.store, folder / "store")
                file = files[int(draw(f"file {case}").integers(len(files)))]
                name = str(draw(f"change {case}").choice([*change]))
                np.save(store / file, change[name](np.load(store / file)), allow_pickle=True)
                judge(tally, readers, store, want, f"case {case}: {file} {name}")


@pytest.mark.parametrize("reader", ["inspect", "evaluate", "train"])
def test_the_command_line_says_it_in_one_line(reader, with_run, counted, draw, many, tmp_path):
    with counted("mutated stores: command line") as tally:
        for case in range(many(4)):
            with scratch(tmp_path, f"case {case}") as folder:
                store = shutil.copytree(with_run.store, folder / "store")
                what = damaged_file(draw(case), store, "*.npy")
                argv = {
                    "inspect": ["inspect", store],
                    "evaluate": ["evaluate", with_run.run, "--store", store],
                    "train": ["train", with_run.config, "--store", store, "--run", folder / "run", "--quiet"],
                }[reader]
                ended = start(folder, command, *argv).end()
                outcome = "half-written" if ended.code and (folder / "run").exists() else ended.outcome()
                tally.add(outcome, f"{reader}, {what}: {ended}")
