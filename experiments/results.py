"""Train every shipped experiment and write one table of test AUCs, which the README and the configs quote.

    python -m experiments.results --data DATA --runs runs/results

DATA holds the public data sets as data_prep reads them: amazon_sports and amazon_beauty with an interactions.tsv.gz
each, ml-100k, and movie_sample/movie_sample.txt. The epoch is chosen on the validation split; the test split is read
once per run, after training. A run that is finished is only evaluated again.
"""

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from scipy import stats

from dienjax import Config, Store, evaluate, fit_store
from dienjax.training.metrics import to_json
from experiments.benchmark.measure import ROOT, machine
from experiments.rows import keep

AMAZON = ["amazon", "--interactions", "{data}/amazon_%s/interactions.tsv.gz", "--protocol"]
STORES = {
    f"{name}_{protocol}": [part.replace("%s", name) for part in AMAZON] + [protocol]
    for name in ("sports", "beauty")
    for protocol in ("last", "all")
} | {
    "ml100k_user": ["movielens", "--folder", "{data}/ml-100k", "--protocol", "user"],
    "ml100k_last": [
        "movielens",
        "--folder",
        "{data}/ml-100k",
        "--protocol",
        "last",
        "--test-fraction",
        "0.3",
        "--valid-fraction",
        "0.1",
    ],
    "movie_sample": ["movielens", "--folder", "{data}/movie_sample"],
}
"""The arguments of `python -m data_prep.`, by the name of the store."""

RUNS = (
    ("sports_last_dien", "sports_last", 1, 3),
    ("sports_last_dien_alpha0", "sports_last", 1, 3),
    ("sports_last_din", "sports_last", 1, 3),
    ("sports_targets_all_dien", "sports_last", 1, 3),
    ("sports_targets_all_din", "sports_last", 1, 3),
    ("sports_last_dien", "sports_last", 5, 3),
    ("sports_last_din", "sports_last", 5, 3),
    ("sports_last_dien", "sports_last", 10, 3),
    ("sports_last_din", "sports_last", 10, 3),
    ("beauty_last_dien", "beauty_last", 1, 3),
    ("sports_all_dien", "sports_all", 1, 1),
    ("beauty_all_dien", "beauty_all", 1, 1),
    ("ml100k_user_dien", "ml100k_user", 1, 1),
    ("ml100k_last_dien", "ml100k_last", 1, 1),
    ("movie_sample_dien", "movie_sample", 1, 1),
)
"""Config, store, min_count and number of seeds of each row."""


def main(
    data: Path,
    runs: Path,
    only: Annotated[tuple[str, ...], ...] = (),
    results: Path = ROOT / "experiments/results",
) -> None:
    """Train, evaluate and write the table of each experiment.

    Args:
      data: folder of the public data sets.
      runs: folder for the stores and the run folders.
      only: names of configs; all of them if left out. The other rows of the table stay as they are.
      results: folder for auc.json and auc.md.
    """
    for name, store, min_count, seeds in RUNS:
        if only and name not in only:
            continue
        row = measured(name, prepared(store, min_count, data, runs), min_count, seeds, runs)
        keep(results / "auc", row, ("config", "min_count"), table)
        print(f"{name} min_count {min_count}: test AUC {auc(row)}", flush=True)


def prepared(
    store: str, min_count: int, data: Path, runs: Path, inputs: str = "", options: Sequence[str] = ()
) -> Store:
    """The store of a recipe, made by its command unless it is there.

    Args:
      inputs: what its name ends with, where the recipe gets more options.
    """
    out = runs / "stores" / f"{store}_{min_count}{inputs}"
    if not out.exists():
        recipe, *arguments = (part.replace("{data}", str(data)) for part in (*STORES[store], *options))
        command = [sys.executable, "-m", f"data_prep.{recipe}", *arguments, "--out", str(out)]
        subprocess.run(command + ([] if min_count == 1 else ["--min-count", str(min_count)]), check=True, cwd=ROOT)
    return Store.open(out)


def measured(name: str, store: Store, min_count: int, seeds: int, runs: Path) -> dict[str, Any]:
    """One row: the metrics of each seed (parameters, shuffling, training negatives; the test pairs stay the same)."""
    config = Config.load(ROOT / "experiments" / f"{name}.toml")
    found = []
    for seed in range(seeds):
        seeded = dataclasses.replace(config, fit=dataclasses.replace(config.fit, seed=seed))
        run = fit_store(seeded, store, runs / f"{store.path.name}_{name}_{seed}", resume=True)
        found.append({"seed": seed, **to_json(evaluate(run, store, "test"))})
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT).stdout
    about = machine("dienjax", "jax", "flax")
    return {"config": name, "store": store.path.name, "min_count": min_count, "seeds": found, "commit": commit.strip(),
            "machine": about}  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = ["| config | min_count | test AUC | by seed | GAUC | log loss | calibration | commit |", "|---" * 8 + "|"]
    for row in rows:
        by_seed = " ".join(f"{seed['auc']:.4f}" for seed in row["seeds"])
        means = [f"{np.mean([seed[name] for seed in row['seeds']]):.4f}" for name in ("gauc", "logloss", "calibration")]
        cells = [row["config"], str(row["min_count"]), auc(row), by_seed, *means, row["commit"]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def auc(row: dict[str, Any], digits: int = 4) -> str:
    """The mean over seeds, and the standard deviation where there are several."""
    found = np.array([seed["auc"] for seed in row["seeds"]])
    return f"{found.mean():.{digits}f}" + (f" ± {found.std(ddof=1):.{digits}f}" if len(found) > 1 else "")


def gain(row: dict[str, Any], base: dict[str, Any]) -> str:
    """The mean difference of equal seeds, and half of its 95 % interval (t) where there are several."""
    gain_S = np.array([new["auc"] - old["auc"] for new, old in zip(row["seeds"], base["seeds"], strict=False)])
    if len(gain_S) == 1:
        return f"{gain_S[0]:+.4f}"
    half = stats.t.ppf(0.975, len(gain_S) - 1) * gain_S.std(ddof=1) / len(gain_S) ** 0.5
    return f"{gain_S.mean():+.4f} ± {half:.4f}"


if __name__ == "__main__":
    tyro.cli(main)
