"""What a call costs in a fresh interpreter: wall time and peak memory of the whole process.

    python -m experiments.benchmark.measure MODULE:FUNCTION ARGUMENTS.json ANSWER.json

A process's peak memory starts at what its parent holds, so a benchmark imports nothing large before it measures.
"""

import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Cost:
    """Wall time and peak resident memory (1 GB = 1e9 bytes) of a process, and what its call returned."""

    process_s: float
    gb: float
    answer: Any


def repeated(function: str, folder: Path, repeats: int, slow_s: float, **arguments: Any) -> Iterator[Cost]:
    """The cost of each of `repeats` processes, or of one if it takes longer than `slow_s`.

    The function gets as `out` a new path in `folder`, which is removed after each call.
    """
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            cost = in_child(function, out=str(Path(scratch) / "out"), **arguments)
        yield cost
        if cost.process_s > slow_s:
            return


def in_child(function: str, root: Path = ROOT, **arguments: Any) -> Cost:
    """The cost of a process that imports `module:name` and calls it with `arguments`; these and the answer are JSON.

    It imports from the checkout `root`.

    Raises:
      RuntimeError: the process failed; the message has the end of what it printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, answer, printed = (Path(folder) / name for name in ("given.json", "answer.json", "printed.txt"))
        given.write_text(json.dumps(arguments))
        command = [sys.executable, "-m", "experiments.benchmark.measure", function, str(given), str(answer)]
        with open(printed, "w") as output:
            start = time.perf_counter()
            child = subprocess.Popen(command, cwd=root, stdout=output, stderr=subprocess.STDOUT)
            _, status, usage = os.wait4(child.pid, 0)
            seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            tail = printed.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{function} with {arguments} ended with exit code {child.returncode}:\n{tail}")
        return Cost(seconds, peak_gb(usage), json.loads(answer.read_text()))


def peak_gb(usage: Any) -> float:
    """The peak resident memory of a process in GB, from its resource usage."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def in_turn(cases: Mapping[str, tuple[str, dict[str, Any]]], rounds: int) -> dict[str, list[Cost]]:
    """The costs of `rounds` processes of each case, taking turns; `cases` has a function and its arguments by name."""
    costs: dict[str, list[Cost]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, (function, arguments) in cases.items():
            costs[name].append(in_child(function, **arguments))
            print(f"{name} · {costs[name][-1].process_s:.1f} s {costs[name][-1].gb:.2f} GB", flush=True)
    return costs


def median_ms(call: Callable[[], Any], seconds: float, least: int = 5) -> float:
    """The median milliseconds of a call, after two for warm-up, over this many seconds and at least `least` calls."""
    call()
    call()
    taken: list[float] = []
    while len(taken) < least or sum(taken) < seconds:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return 1e3 * statistics.median(taken)


def left_out(extras: Mapping[str, str]) -> dict[str, str]:
    """The packages that are not installed, each with a line that says so; `extras` has the extra of each package."""
    return {
        name: f"left out: {name} is not installed; pip install -e '.[{extra}]'"
        for name, extra in extras.items()
        if find_spec(name.replace("-", "_")) is None
    }


def machine(*packages: str) -> dict[str, Any]:
    """What the numbers depend on: processors, memory, other load, the date, and versions of `packages`."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpus": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": found,
    }


def _call(function: str, given: str, answer: str) -> None:
    module, name = function.split(":")
    called = getattr(importlib.import_module(module), name)
    Path(answer).write_text(json.dumps(called(**json.loads(Path(given).read_text()))))


if __name__ == "__main__":
    _call(*sys.argv[1:])
