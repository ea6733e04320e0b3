"""What the kinds of cases share: seeds, counts, and processes that run the command line and may be killed."""

import multiprocessing
import os
import resource
import shutil
import signal
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from campaign_table import OUTCOMES

BAD = OUTCOMES[2:]

CLEAN = (ValueError, TypeError, OSError, ImportError, ArithmeticError, RuntimeError)
"""What the command line turns into one line; anything else is a traceback."""

PRELOAD = (
    "pandas", "pyarrow.csv", "pyarrow.parquet", "matplotlib.pyplot", "sklearn.metrics", "orbax.checkpoint", "tyro",
    "dienjax.cli", "dienjax.training.loop", "dienjax.training.prediction_files", "dienjax.preparation.prepare",
    "dienjax.export", "dienjax.inspection.inspect",
)  # fmt: skip
"""What the fork server imports once, so that a process starts in a tenth of a second. None of it starts a thread."""


@dataclass
class Tally:
    """The counts of one kind of case, and the first few of its bad ones in words."""

    kind: str
    counts: Counter = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)

    def add(self, outcome: str, what: str = "") -> None:
        assert outcome in OUTCOMES
        self.counts[outcome] += 1
        if outcome in BAD:
            self.told.append(f"{outcome}: {what}")

    def fail_if_bad(self) -> None:
        bad = {name: self.counts[name] for name in BAD if self.counts[name]}
        more = f"\n  and {len(self.told) - 12} more" if len(self.told) > 12 else ""
        assert not bad, f"{self.kind}: {bad}\n  " + "\n  ".join(self.told[:12]) + more


def rng(seed: int, case: str) -> np.random.Generator:
    """The randomness of a case, a function of the campaign's seed and the case's name alone."""
    return np.random.default_rng([seed, zlib.crc32(case.encode())])


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (negative: by that signal), what it wrote, and its seconds."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL

    def outcome(self, lines: int = 4) -> str:
        """Accepted, refused in at most so many lines, or a traceback; lines "export: ..." are progress."""
        if "Traceback (most recent call last)" in self.err or self.code not in (0, 2):
            return "tracebacks"
        if self.code == 0:
            return "accepted rightly"
        said = [line for line in self.err.splitlines() if line.strip() and not line.startswith("export: ")]
        return "refused cleanly" if 0 < len(said) <= lines else "tracebacks"

    def __str__(self) -> str:
        return f"code {self.code}: {self.err.strip()[-300:]}"


@dataclass(frozen=True)
class Started:
    """A process on its way, in a session of its own, so that what it started can be ended too."""

    process: Any
    folder: Path
    since: float

    def end(self, kill_after: float | None = None, limit: float = 120) -> Ended:
        """Waits for it, or kills it by SIGKILL at that many seconds; past `limit` it hangs, which is an error."""
        self.process.join(limit if kill_after is None else max(0.0, self.since + kill_after - time.perf_counter()))
        hangs = kill_after is None and self.process.is_alive()
        self.process.kill()
        self.process.join()
        seconds = time.perf_counter() - self.since
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        files = (self.folder / "out", self.folder / "err")
        out, err = (file.read_text(errors="replace") if file.exists() else "" for file in files)
        shutil.rmtree(self.folder)
        assert not hangs, f"it did not end within {limit} s: {err[-500:]}"
        return Ended(self.process.exitcode, out, err, seconds)


def start(folder: Path, function: Callable, *args: Any, memory: int = 0, file_size: int = 0) -> Started:
    """Starts `function(*args)` in a process forked from one that has imported everything and has one thread.

    Args:
      folder: where what it prints is kept meanwhile.
      memory: the most bytes of address space beyond those it starts with; 0 for no limit.
      file_size: the most bytes that a file may grow to; 0 for no limit.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOAD])
    talk = folder / f".talk.{time.monotonic_ns()}"
    talk.mkdir(parents=True)
    process = context.Process(target=_child, args=(talk, memory, file_size, function, args))
    process.start()
    return Started(process, talk, time.perf_counter())


def _child(talk: Path, memory: int, file_size: int, function: Callable, args: tuple) -> None:
    os.setsid()
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(talk / name, os.O_CREAT | os.O_WRONLY)
        os.dup2(file, number)
        os.close(file)
    if file_size:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    if memory:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    function(*args)


def command(*argv: Any, cwd: Path | None = None) -> None:
    """The command line, for `start`."""
    from dienjax.cli import main

    if cwd is not None:
        os.chdir(cwd)
    main([str(a) for a in argv])


class Reached(Exception):
    """Raised in the place of what is long and follows when an input has been taken."""


def reach(*_: Any, **__: Any) -> None:
    raise Reached


def requests(draw: np.random.Generator, n: int) -> Iterator[tuple[dict, dict, dict]]:
    """Users that repeat and vary: known and unknown values, empty and long histories."""
    for _ in range(n):
        T, K = int(draw.integers(0, 9)), int(draw.integers(1, 130))
        item_T, item_K = draw.integers(-3, 34, T).tolist(), draw.integers(-3, 34, K).tolist()
        yield (
            {"item": item_T, "category": [f"c{i % 6}" for i in item_T]},
            {"item": item_K, "category": [None if i % 6 == 5 else f"c{i % 6}" for i in item_K]},
            {"city": str(draw.choice(["Bonn", "Köln", "Ulm", "Rome"]))},
        )


@contextmanager
def scratch(folder: Path, name: str) -> Iterator[Path]:
    """A new folder that is gone afterwards."""
    path = folder / name
    path.mkdir(parents=True)
    yield path
    shutil.rmtree(path)


def left_behind(folder: Path, *expected: str) -> list[str]:
    """What stands in a folder beside what is expected."""
    return sorted(p.name for p in folder.iterdir() if p.name not in expected and not p.name.startswith(".talk."))


def contents(path: Path) -> dict[str, bytes] | None:
    """The bytes of every file under a path (itself, if it is a file) by relative name; None where nothing is."""
    if path.is_file():
        return {"": path.read_bytes()}
    if not path.is_dir():
        return None
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def make_log(draw: np.random.Generator, users: int = 60, items: int = 30) -> pd.DataFrame:
    """A log of `users` users with 2 to 8 events: text users, a numeric item, a text category, a rating, a city each."""
    user = np.repeat(np.arange(users), draw.integers(2, 9, users))
    item = draw.integers(0, items, len(user))
    frame = pd.DataFrame(
        {
            "user": [f"u{u}" for u in user],
            "item": item,
            "category": np.char.add("c", (item % 5).astype(str)),
            "time": draw.integers(0, 50, len(user)),
            "rating": draw.integers(1, 6, len(user)),
            "city": np.array(["Bonn", "Köln", "Ulm"])[user % 3],
        }
    )
    return frame.sample(frac=1, random_state=int(draw.integers(1 << 31)), ignore_index=True)


ROLES = ("--user", "user", "--item", "item", "--time", "time", "--attribute", "category", "--user-attribute", "city")
"""What the columns of `make_log` are, for the command line."""
SPLIT = ("--hist-label", "rating >= 3", "--test-fraction", "0.2", "--valid-fraction", "0.2")
CONFIG = """[model]
name = "DIEN"
dim = 4
attention_hidden = [4]
tower = [4]
auxiliary_hidden = [4]
dropout = 0.1
[data]
train = "train_all"
batch_size = 32
lengths = [4]
max_len = 4
[fit]
epochs = 3
save_every = 2
log_every = 3
patience = 0
"""
"""A small DIEN with dropout, so that an inexact resume shows."""


def prepare_argv(log: Path, out: Path, *more: str) -> list[str]:
    return ["prepare", "--events", str(log), *ROLES, *SPLIT, "--out", str(out), "--quiet", *more]
