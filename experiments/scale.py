"""How time and memory of preparation grow with the log: generated logs of any size, and what preparing one takes.

    python -m experiments.scale log --events 17e6 --out /tmp/log17
    python -m experiments.scale prepare --events 17e6 --engine duckdb --log /tmp/log17 --out /tmp/store17
    python -m experiments.scale prepare --events 170e6 --engine spark      # generates the log in a temporary folder

Engine spark runs in local[2], in this Python.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

USERS, ITEMS, CATEGORIES = 1 / 55, 1 / 170, 900
"""Users and items per event; a user has about 10 to 100 events. Categories at most."""

DAYS, ROWS = 17, 1 << 20
SINCE, DAY = 1_793_491_200, 86_400  # 2026-11-01


def log(out: Path, events: float = 17e6, seed: int = 0) -> None:
    """Write a log as a folder of Parquet files by day; the memory that it takes depends on the users alone.

    The columns are user, item, category and time, and day as the folders' key; items have popularity 1 / rank.

    Args:
      out: a new folder.
      events: number of events.
      seed: equal seeds give equal logs.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(seed)
    users, items = max(2, round(events * USERS)), max(2, round(events * ITEMS))
    share_U = np.cumsum(rng.uniform(10, 100, users))
    place_I = rng.permutation(items)
    category_I = rng.permutation(np.arange(items) % min(CATEGORIES, items))
    counts = np.diff(np.linspace(0, round(events), DAYS + 1).astype(int))
    for day, count in enumerate(counts):
        folder = out / f"day={np.datetime64(SINCE + day * DAY, 's').astype('datetime64[D]')}"
        folder.mkdir(parents=True)
        schema = pa.schema({name: pa.int64() for name in ("user", "item", "category", "time")})
        with pq.ParquetWriter(folder / "part-0.parquet", schema) as file:
            for start in range(0, count, ROWS):
                n = min(ROWS, count - start)
                item = place_I[((items + 1) ** rng.random(n) - 1).astype(np.int64)]
                moment = np.linspace(start / count, (start + n) / count, n, endpoint=False)
                user = np.searchsorted(share_U, rng.random(n) * share_U[-1])
                columns = {
                    "user": user * 2_654_435_761 % 2**32,  # different for different users, and in another order
                    "item": item,
                    "category": category_I[item],
                    "time": SINCE + day * DAY + (moment * DAY).astype(np.int64),
                }
                file.write_table(pa.table(columns, schema))


def prepare(
    events: float = 17e6,
    engine: Literal["memory", "duckdb", "spark"] = "duckdb",
    protocol: Literal["last", "all"] = "last",
    log: Path | None = None,
    out: Path | None = None,
) -> None:
    """Prepare a log in a process of its own, and print its time and the peak memory of it and of what it starts.

    Memory is looked at ten times a second: resident, and of that anonymous, which no file backs. On a machine that does
    other work too, the seconds of the processors say more than those of the clock.

    Args:
      events: size of the log that is generated if none is given.
      engine: how it is sorted.
      protocol: how it is split.
      log: folder of a log that `log` wrote.
      out: where the store goes; removed afterwards if left out.
    """
    with tempfile.TemporaryDirectory() as scratch:
        if log is None:
            log = Path(scratch) / "log"
            _log(log, events)
        out = out or Path(scratch) / "store"
        roles = {"user": "user", "item": "item", "time": "time", "attributes": ["category"]}
        given = roles | {"events": str(log), "out": str(out), "engine": engine, "protocol": protocol, "force": True}
        start = time.perf_counter()
        command = [sys.executable, "-c", CHILD, json.dumps(given)]
        spark = {"PYSPARK_SUBMIT_ARGS": "--master local[2] pyspark-shell"}
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | spark)
        peaks: dict[str, tuple[float, float]] = {}
        cpu: dict[int, float] = {}
        while child.poll() is None:
            for kind, (resident, anonymous) in _memory(child.pid, cpu).items():
                before = peaks.get(kind, (0.0, 0.0))
                peaks[kind] = max(before[0], resident), max(before[1], anonymous)
            time.sleep(0.1)
        seconds, printed = time.perf_counter() - start, child.stdout.read() if child.stdout else ""
        if child.returncode:
            sys.exit(f"preparing failed with exit code {child.returncode}")
        row = {"engine": engine, "protocol": protocol, "seconds": round(seconds, 1)}
        row |= {"cpu_seconds": round(sum(cpu.values()), 1), **json.loads(printed)}
        memory = {kind: {"resident_gb": round(r, 2), "anonymous_gb": round(a, 2)} for kind, (r, a) in peaks.items()}
        print(json.dumps(row | {"peaks": memory}))


_log = log

# What `dienjax prepare` does.
CHILD = """
import json, sys
from dienjax.inspection.inspect import summary
from dienjax.preparation.prepare import prepare
store = prepare(**json.loads(sys.argv[1]))
summary(store)
print(json.dumps({"events": len(store.time_E), "users": len(store.offsets) - 1, "digest": store.digest[:16]}))
"""


def _memory(pid: int, cpu: dict[int, float]) -> dict[str, tuple[float, float]]:
    """Resident and anonymous memory (GB) of a process and, by kind, of what it started; workers are added up.

    `cpu` gets the seconds of processor time of each process so far, by its id.
    """
    found: dict[str, tuple[float, float]] = {}
    todo = [(pid, "process")]
    while todo:
        at, kind = todo.pop()
        try:
            lines = dict(line.split(":", 1) for line in Path(f"/proc/{at}/status").read_text().splitlines())
            children = [
                child
                for thread in os.listdir(f"/proc/{at}/task")
                for child in Path(f"/proc/{at}/task/{thread}/children").read_text().split()
            ]
            ticks = Path(f"/proc/{at}/stat").read_text().rpartition(")")[2].split()[11:13]
            cpu[at] = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
            size = [int(lines[name].split()[0]) * 1024 / 1e9 for name in ("VmRSS", "RssAnon")]
        except (OSError, KeyError, ValueError):
            continue  # it has ended
        before = found.get(kind, (0.0, 0.0))
        found[kind] = before[0] + size[0], before[1] + size[1]
        for child in map(int, children):
            name = "JVM" if _command(child).startswith("java") else "workers"
            todo.append((child, name))
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"log": log, "prepare": prepare})
