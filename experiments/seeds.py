"""Trains configs with several seeds and prints the mean test AUC of each.

    python experiments/seeds.py experiments/sports_last_*.toml --store stores/sports_last --runs runs/sports_last

The epoch is chosen on the validation split; the test split is read once per run, after training.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from dienjax import Config, Run, Store, evaluate, fit_store
from dienjax.files import write_json
from dienjax.metrics import to_json


def main(
    configs: tyro.conf.Positional[tuple[Path, ...]],
    store: Path,
    runs: Path,
    seeds: Annotated[tuple[int, ...], ...] = (0, 1, 2),
) -> None:
    """Train each config with each seed on one store.

    Args:
      configs: TOML files.
      store: event store that all of them are trained on.
      runs: folder for the run folders; a finished run there is only evaluated again.
      seeds: seeds of parameters, shuffling and training negatives; the store's test pairs stay the same.
    """
    opened, results = Store.open(store), {}
    for path in configs:
        config = Config.load(path)
        rows = []
        for seed in seeds:
            seeded = dataclasses.replace(config, fit=dataclasses.replace(config.fit, seed=seed))
            run = fit_store(seeded, opened, runs / f"{path.stem}_seed{seed}", resume=True)
            rows.append({"seed": seed, **to_json(evaluate(Run.open(run.path), opened, "test"))})
        results[path.stem] = rows
        write_json(runs / "seeds.json", results)
        auc = np.array([row["auc"] for row in rows])
        print(
            f"{path.stem:<28} test AUC {auc.mean():.4f} ± {auc.std(ddof=1) if len(auc) > 1 else 0:.4f}  {auc.round(4)}",
            flush=True,
        )


if __name__ == "__main__":
    tyro.cli(main)
