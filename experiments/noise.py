"""Train on a log of pure noise, where nothing can be learnt: any test AUC but 0.5 would be information that leaks.

    python experiments/noise.py --runs runs/noise

Users meet items at random, rare ones too, so that with a higher min_count many events are unknown. Each line also
scores a later day, of which 40 % and more is unknown to the trained model.
"""

import tempfile
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import tyro

from dienjax import Config, DataConfig, FitConfig, ModelConfig, OptimizerConfig, Store, evaluate, fit_store, prepare

SMALL = {"attention_hidden": (16,), "attention_activation": "relu", "tower": (32,), "tower_activation": "relu"}
ROLES = {"user": "user", "item": "item", "time": "time", "attributes": ["category"]}


def noise(users: int, events: int, items: int, seed: int) -> pd.DataFrame:
    """A log in which every event is a draw of its own; popularity falls with the square root of an item's number."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), rng.integers(2, 2 * events - 1, users))
    weight = (1 + np.arange(items)) ** -0.5
    item = rng.choice(items, len(user), p=weight / weight.sum())
    return pd.DataFrame({"user": user, "item": item, "category": item % 50, "time": rng.permutation(len(user))})


def unknown_share(store: Store, split: str) -> tuple[float, float]:
    """How often the positives and the negatives of a split are unknown items."""
    candidates = store.samples(split).candidates
    assert candidates is not None
    unknown_C, positive_C = candidates.field["item"] == 1, candidates.label_C == 1
    return float(unknown_C[positive_C].mean()), float(unknown_C[~positive_C].mean())


def main(
    runs: Path | None = None,
    users: int = 8000,
    events: int = 10,
    items: int = 3000,
    min_counts: Annotated[tuple[int, ...], ...] = (1, 3, 10),
    models: Annotated[tuple[str, ...], ...] = ("DIN", "DIEN"),
    protocols: Annotated[tuple[str, ...], ...] = ("last", "all"),
    seeds: Annotated[tuple[int, ...], ...] = (0, 1, 2),
    epochs: int = 2,
    train: str = "",
    unknown: float = DataConfig.unknown,
) -> dict[str, list[float]]:
    """Print and return the test AUC of each protocol, min_count, model and seed, and the AUC of a later day.

    Args:
      runs: folder for the stores and runs; a temporary one if left out.
      users: users of the log, each with 2 to 2 * events - 2 events.
      events: mean number of events of a user.
      items: items of the log.
      min_counts: each makes a store.
      models: each is trained on every store.
      protocols: protocols of the stores.
      seeds: seeds of the log and of the training.
      epochs: passes over the training split.
      train: the training split; every target of the training users if left out.
      unknown: share of the values that a training step hides.
    """
    every: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for protocol, min_count in product(protocols, min_counts):
            split = train or ("train_all" if protocol == "last" else "train")
            found: dict[str, list[float]] = {}
            shares = []
            for seed in seeds:
                here = (runs or Path(temporary)) / f"{protocol}_{min_count}_{seed}"
                stores = prepared(here, noise(users, events, items, seed), items, protocol, min_count)
                shares.append([share for store in stores.values() for share in unknown_share(store, "test")])
                for model in models:
                    config = Config(
                        ModelConfig(model, 8, SMALL),
                        DataConfig(train=split, batch_size=256, lengths=2, unknown=unknown),
                        optimizer=OptimizerConfig(learning_rate=3e-3),
                        fit=FitConfig(epochs=epochs, patience=0, seed=seed),
                    )
                    run = fit_store(config, stores["test"], here / model, progress=False)
                    for what, store in stores.items():
                        found.setdefault(f"{model} {what}", []).append(evaluate(run, store, "test")["auc"])
            every |= {f"{protocol} {min_count} {name}": aucs for name, aucs in found.items()}
            pos, neg, day_pos, day_neg = np.mean(shares, axis=0)
            text = "  ".join(f"{k} {np.mean(v):.3f} ({min(v):.3f} to {max(v):.3f})" for k, v in found.items())
            unknown_text = f"unknown {pos:.0%}/{neg:.0%}, day {day_pos:.0%}/{day_neg:.0%}"
            print(f"{protocol:<5} min_count {min_count:<3} {unknown_text}  {text}", flush=True)
    return every


def prepared(folder: Path, log: pd.DataFrame, items: int, protocol: str, min_count: int) -> dict[str, Store]:
    """The store of a log, and that of a later day, on which some of the items are new."""
    store = prepare(log, folder / "store", **ROLES, protocol=protocol, min_count=min_count, test_fraction=0.4)
    later = log.assign(item=log["item"].sample(frac=1, random_state=0).to_numpy() + items * 2 // 3)
    day = prepare(
        later.assign(category=later["item"] % 50), folder / "day", **ROLES, like=store, test_fraction=1.0,
        valid_fraction=0.0,
    )  # fmt: skip
    return {"test": store, "day": day}


if __name__ == "__main__":
    tyro.cli(main)
