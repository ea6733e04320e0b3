"""From a log to scored requests, the whole way: prepare, train, export, then serve without JAX.

    python experiments/serve.py

A service has the last part alone, from `Ranker` on; it needs the exported folder, onnxruntime and NumPy.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import tyro

import dienjax
from dienjax import Config, DataConfig, FitConfig, ModelConfig, OptimizerConfig
from dienjax.data.drift import DriftWorld
from dienjax.export import export_run
from dienjax.serving import Ranker


def main(folder: Path = Path("runs/serve"), users: int = 500, requests: int = 20, threads: int = 2) -> None:
    """Train a small DIEN on a generated log, export it, and rank candidates for its users from several threads.

    Args:
      folder: a new folder for the store, the run and the export.
      users: size of the log.
      requests: how many users to rank for.
      threads: threads that send requests at the same time.
    """
    log = DriftWorld(users=users).log()
    roles = {"user": "user", "item": "item", "time": "time", "attributes": ["category"]}
    store = dienjax.prepare(log, folder / "store", **roles, test_fraction=0.2, valid_fraction=0.2)
    config = Config(
        ModelConfig("DIEN", dim=8),
        DataConfig(train="train_all", batch_size=64, max_len=15, lengths=1),
        optimizer=OptimizerConfig(learning_rate=5e-3),
        fit=FitConfig(epochs=3),
    )
    run = dienjax.fit_store(config, store, folder / "run")
    export_run(run, folder / "exported", split="test")

    ranker = Ranker(folder / "exported")
    catalogue = log[["item", "category"]].drop_duplicates()
    histories = [events.tail(15) for _, events in log.groupby("user")][:requests]

    def rank(history: pd.DataFrame) -> list[tuple[int, float]]:
        return ranker.top(3, history[["item", "category"]].to_dict("list"), catalogue.to_dict("list"))

    with ThreadPoolExecutor(threads) as pool:
        answers = list(pool.map(rank, histories))
    for history, best in list(zip(histories, answers, strict=True))[:3]:
        seen = ", ".join(map(str, history["category"].tail(5)))
        found = ", ".join(f"item {catalogue['item'].iloc[k]} ({p:.3f})" for k, p in best)
        print(f"after categories {seen}: {found}")

    lists = {name: [catalogue[name].tolist()] * len(histories) for name in catalogue}
    lists |= {f"hist_{name}": [history[name].tolist() for history in histories] for name in catalogue}
    expected = dienjax.predict(run, pd.DataFrame(lists))["probability"]
    largest = max(abs(p - want[k]) for best, want in zip(answers, expected, strict=True) for k, p in best)
    print(f"largest difference from JAX over {len(answers)} requests of {len(catalogue)} candidates: {largest:.1e}")
    if not np.isfinite(largest) or largest > 1e-5:
        raise SystemExit("the served probabilities are not those of the model")


if __name__ == "__main__":
    tyro.cli(main, prog="python experiments/serve.py")
