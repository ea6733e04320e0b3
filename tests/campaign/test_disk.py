"""A full disk: one line, nothing half-written, what stood there still stands, and with space again it goes on."""

import os
import shutil
import subprocess

import oracle
import pytest
from campaign import command, contents, left_behind, prepare_argv, scratch, start

LINES = 2
"""A full disk is said in so many lines at most."""


PAGE = 4096


def largest(path):
    """Bytes of the largest file of a folder."""
    return max(p.stat().st_size for p in path.rglob("*") if p.is_file())


def pages(path):
    """Bytes that a folder's files take in whole pages; of a small file beside others if there is none."""
    return sum(-(-p.stat().st_size // PAGE) * PAGE for p in path.rglob("*") if p.is_file()) if path else 3 * PAGE


@pytest.fixture
def disk(tmp_path):
    """`disk(bytes)` is a folder on a disk of that size, where root may mount one."""
    mounted = []

    def mount(size):
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
        if os.geteuid() or made.returncode:
            pytest.skip(f"no disk of its own: {made.stderr.decode().strip() or 'not root'}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def whole(name, request):
    """What the command of this name needs."""
    return request.getfixturevalue("with_export" if name == "export" else "with_run")


def commands(whole, target):
    """What writes, by name, with the size of what it writes."""
    return {
        "prepare": (prepare_argv(whole.log, target), whole.store),
        "train": (["train", whole.config, "--store", whole.store, "--run", target, "--quiet"], whole.run),
        "predict": (["predict", whole.run, "--input", whole.rows, "--output", target, "--quiet"], None),
        "export": (["export", whole.run, "--output", target, "--form", "stablehlo"], whole.export),
    }


def judge(tally, ended, target, before, what, resumable):
    """Counts one command that met a full disk: the old target, or nothing, or a run that has no broken checkpoint."""
    if ended.code == 0:
        tally.add(ended.outcome())
        return
    there, left = contents(target), left_behind(target.parent, target.name)
    whole = there == before or (resumable and there is not None and not oracle.damaged_checkpoints(target))
    outcome = ended.outcome(LINES) if whole and not left else "half-written"
    tally.add(outcome, f"{what}: {ended}; {len(ended.err.splitlines())} lines, left: {left}")


@pytest.mark.parametrize("name", ["prepare", "train", "predict", "export"])
def test_files_that_may_not_grow(name, whole, counted, draw, many, tmp_path):
    """RLIMIT_FSIZE: writing fails somewhere in the middle of a file; with and without an old target."""
    with counted(f"full disk: {name}, no file may grow") as tally:
        for case in range(many({"prepare": 24, "train": 8, "predict": 5, "export": 3}[name])):
            with scratch(tmp_path, f"case {case}") as folder:
                target = folder / "target"
                argv, like = commands(whole, target)[name]
                old = case % 2 == 1 and name != "train"
                if old:
                    shutil.copytree(like, target) if like else target.write_text("old")
                most = largest(like) if like else 3000
                limit = int(draw(case).integers(1000, most))  # what is said has to fit as well
                before = contents(target)
                ended = start(folder, quietly, *argv, *["--force"] * old, file_size=limit).end()
                judge(tally, ended, target, before, f"{name}, {limit} bytes", name == "train")


def quietly(*argv):
    """The command line with no compilation cache: its files may not grow either."""
    import jax

    jax.config.update("jax_enable_compilation_cache", False)
    command(*argv)


@pytest.mark.parametrize("name", ["prepare", "train", "predict", "export"])
def test_a_small_disk(name, whole, counted, draw, many, disk, tmp_path):
    """A disk of its own, too small for the result; a training goes on where it was when there is space again."""
    want = oracle.last_state(whole.run)
    needed = pages(commands(whole, tmp_path)[name][1])
    with counted(f"full disk: {name}, small disk") as tally:
        for case in range(many({"prepare": 8, "train": 4, "predict": 2, "export": 2}[name])):
            folder = disk(size := int(draw(case).uniform(0.1, 1) * needed))
            target = folder / "target"
            argv, _ = commands(whole, target)[name]
            ended = start(tmp_path, command, *argv).end()
            judge(tally, ended, target, None, f"{name}, disk of {size} bytes", name == "train")
            if ended.code and name == "train":
                subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
                ended = start(tmp_path, command, *argv, "--resume").end()
                different = ended.code or oracle.difference(oracle.last_state(target), want)
                tally.add("wrong accepted" if different else "accepted rightly", f"resumed: {different}, {ended}")
