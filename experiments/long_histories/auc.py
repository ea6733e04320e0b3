"""The test AUC of each recurrence when it sees 50, 200 or 1,000 events of a world whose interests return."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from dienjax import (
    Config,
    DataConfig,
    evaluate,
    fit_store,
    prepare,
)
from dienjax.data.drift import optimal_auc
from dienjax.data.store import Store, is_store
from dienjax.demo import world_config
from experiments.benchmark.measure import ROOT
from experiments.long_histories.world import ReturningWorld
from experiments.results import auc
from experiments.rows import keep

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "DIN": ("DIN", {"softmax": True}),
    "AUGRU": ("DIEN", {"kind": "AUGRU"}),
    "minAUGRU": ("DIEN", {"kind": "minAUGRU"}),
    "minAUGRU after minGRU": ("DIEN", {"kind": "minAUGRU", "extractor": "minGRU"}),
}


def main(
    runs: Path,
    lengths: Annotated[tuple[int, ...], ...] = (50, 200, 1000),
    seeds: int = 3,
    epochs: int = 16,
    more: int = 4,
    users: int = 6000,
    only: Annotated[tuple[str, ...], ...] = (),
    results: Path = ROOT / "experiments/results",
) -> None:
    """Train each recurrence on the last T events of each user, and write the table of test AUCs beside the optimum.

    From the first T a run starts afresh, from each other it goes on from the weights of the one before: so few samples
    of long histories do not say what to look for. A run that is finished is only evaluated again.

    Args:
      runs: folder for the store and the run folders.
      lengths: T, the most events of a history.
      seeds: how many; of the parameters, the order of the data and the negatives.
      epochs: of the runs of the first T; the best on the validation split counts.
      more: epochs of each longer T.
      users: of the world; three samples each, of which one trains.
      only: names of recurrences; all of them if left out. The other rows of the table stay as they are.
      results: folder for long_histories.json and long_histories.md.
    """
    world = ReturningWorld(users=users)
    log = world.log()
    store = _store(log, runs / "store")
    for before, T in zip((0, *lengths), lengths, strict=False):
        optimum = _optimum(world, log, store, T)
        for kind in only or KINDS:
            found = []
            for seed in range(seeds):
                of = config(kind, T, more if before else epochs, seed)
                start = _run(runs, kind, before, seed) if before else None
                path = _run(runs, kind, T, seed)
                run = fit_store(of, store, path, init_from=start, resume=True, progress=False)
                found.append({"seed": seed, "auc": evaluate(run, store, "test")["auc"]})
                print(T, kind, found[-1], f"optimum {optimum:.4f}", flush=True)
            row = {"T": T, "kind": kind, "optimum": optimum, "seeds": found}
            keep(results / "long_histories", row, ("T", "kind"), table)


def _run(runs: Path, kind: str, T: int, seed: int) -> Path:
    return runs / f"{kind.replace(' ', '_')}_{T}_{seed}"


def _store(log: Any, out: Path) -> Store:
    if is_store(out):
        return Store.open(out)
    return prepare(log, out, user="user", item="item", time="time", attributes=["category"], protocol="last")


def _optimum(world: ReturningWorld, log: Any, store: Store, T: int) -> float:
    """The highest expected AUC of any scorer that sees the last T events before a test event."""
    item_UT = log["item"].to_numpy().reshape(world.users, world.events)
    users = store.user_values()[store.samples("test").user_N].astype(int)
    popularity_V = np.bincount(log["item"], minlength=world.items)
    return optimal_auc(world.next_item(item_UT[users, -T - 1 : -1]), popularity_V)


def config(kind: str, T: int, epochs: int, seed: int) -> Config:
    """The config of a run whose histories have T events at most.

    It has wider vectors and a larger rate than the demo's and does not stop early: the first epochs learn nothing.
    """
    name, options = KINDS[kind]
    of = world_config(name, options, epochs, seed)
    return replace(
        of,
        model=replace(of.model, dim=16),
        data=DataConfig(batch_size=64, max_len=T, lengths=(T,)),
        optimizer=replace(of.optimizer, learning_rate=5e-3),
        fit=replace(of.fit, patience=0),
    )


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = ["| T | model | test AUC | by seed | optimum |", "|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: row["T"]):
        by_seed = " ".join(f"{seed['auc']:.4f}" for seed in row["seeds"])
        lines.append(f"| {row['T']:,} | {row['kind']} | {auc(row)} | {by_seed} | {row['optimum']:.4f} |")
    return "\n".join(lines) + "\n"
