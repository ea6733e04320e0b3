"""Training with tables that are larger than the device: time and memory of a step by the number of rows.

    python -m experiments.host_tables --rows 1e6 1e7 1e8

Each number of rows is measured in a process of its own: a DIEN with Adam whose item table is on the host, and where
that fits beside it the same with the table on the device.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Annotated, Any

import tyro
from tyro.conf import arg

STEPS = 30


def main(
    rows: Annotated[tuple[float, ...], arg(metavar="ROWS...")] = (1e6, 1e7),
    dim: int = 16,
    batch: int = 512,
    length: int = 50,
    folder: str = "",
    one: Annotated[str, arg(help="for internal use: measure this case here")] = "",
) -> None:
    """Print a line for each number of rows and place of the tables.

    Args:
      rows: rows of the item table.
      dim: its width.
      batch: histories a batch.
      length: history slots.
      folder: keeps the tables on the host in files in this folder.
    """
    if one:
        place, size = one.split(":")
        print(json.dumps(measured(place, int(size), dim, batch, length, folder)))
        return
    print(f"{'rows':>13} {'tables':>8} {'step, ms':>9} {'slowest':>8} {'start, s':>9} {'peak, GB':>9}")
    for size in map(int, rows):
        for place in ("device", "host"):
            needed, free = 3 * 4 * size * dim, os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
            if place == "device" and needed > 0.8 * free:
                print(f"{size:>13,} {place:>8} does not fit: Adam needs {needed / 1e9:.1f} GB of {free / 1e9:.1f} GB")
                continue
            command = [sys.executable, "-m", "experiments.host_tables", "--one", f"{place}:{size}", "--dim", str(dim)]
            command += ["--batch", str(batch), "--length", str(length), "--folder", folder]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(f"{size:>13,} {place:>8} does not fit (exit code {done.returncode})")
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{size:>13,} {place:>8} {found['ms']:>9.1f} {found['slowest_ms']:>8.1f} {found['start_s']:>9.1f} "
                f"{found['peak_gb']:>9.2f}",
                flush=True,
            )


def measured(place: str, size: int, dim: int, batch: int, length: int, folder: str) -> dict[str, Any]:
    """Seconds until the state is there, milliseconds of a step with renumbering, and the peak of memory in GB."""
    import jax
    import numpy as np

    from dienjax import Batch, Config, ModelConfig
    from dienjax.training.host_tables import init_host_state
    from dienjax.training.layout import Layout
    from dienjax.training.optimizers import make_optimizer
    from dienjax.training.placed import placed, train_step
    from dienjax.training.step import init_state
    from experiments.benchmark import ours
    from experiments.benchmark.setting import drawn

    sizes, rng = {"item": size, "category": 1000}, np.random.default_rng(0)
    config = Config(ModelConfig("DIEN", dim, ours.OPTIONS | {"state": 2 * dim}))
    model = config.model.build(ours.schema(sizes))
    where = Layout(model.schema, tables="host" if place == "host" else "replicated", folder=folder)
    tx = make_optimizer(config.optimizer, 1, 1)
    small, key = Batch.abstract(model.schema, 1, 2, 1, negatives=True), jax.random.key(0)
    began = time.perf_counter()
    init = init_host_state if place == "host" else init_state
    state = jax.block_until_ready(init(model, tx, small, key, where))
    start, step = time.perf_counter() - began, train_step(config, model, tx, where)
    # Popular items as in a log: of each batch some rows are new, and most were read before.
    batches = [
        ours.batch(drawn(sizes, np.full(batch, length), length, 2, rng, popular(size, rng))) for _ in range(STEPS)
    ]
    times = []
    for one in batches:
        began = time.perf_counter()
        state, metrics = step(state, placed(one, where, lazy=True), key)
        jax.block_until_ready(metrics)
        times.append(time.perf_counter() - began)
    after = sorted(times[2:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"ms": statistics.median(after) * 1e3, "slowest_ms": after[-1] * 1e3, "start_s": start, "peak_gb": peak}


def popular(size: int, rng: Any) -> Any:
    """A sample of items of which few are frequent (Zipf)."""
    import numpy as np

    rank = np.minimum(rng.zipf(1.1, 200_000), size - 2) - 1
    return 2 + rank * 2_654_435_761 % (size - 2)  # frequent ones anywhere in the table


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,))
