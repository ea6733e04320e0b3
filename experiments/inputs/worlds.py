"""The test AUC of a DIEN with and without the input that matters in a generated world, beside the best possible AUC."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd

from dienjax import Config, Schema, Store, evaluate, fit_store, prepare
from dienjax.data.drift import optimal_auc
from dienjax.data.store import is_store
from dienjax.demo import world_config
from experiments.benchmark.measure import ROOT
from experiments.inputs.channel_world import ChannelWorld
from experiments.inputs.gap_world import GapWorld
from experiments.inputs.tag_world import TagWorld
from experiments.results import auc
from experiments.rows import keep

World = GapWorld | TagWorld | ChannelWorld


@dataclass(frozen=True)
class Case:
    """A world, what `prepare` is told of its log in any case, and what it is told of the input that matters."""

    world: World
    always: dict[str, Any]
    given: dict[str, Any]


CASES = {
    "time": Case(GapWorld(), {"attributes": ["category"]}, {"time_fields": ["gap"]}),
    # So few events of each item teach nothing: without its tags all are alike.
    "tags": Case(TagWorld(), {"min_count": 100}, {"attributes": ["tags"]}),
    "channels": Case(ChannelWorld(), {"attributes": ["category"]}, {"channels": "type=click:11,purchase:11"}),
}


def main(
    runs: Path,
    only: Annotated[tuple[str, ...], ...] = (),
    seeds: int = 3,
    epochs: int = 6,
    users: int = 6000,
    results: Path = ROOT / "experiments/results",
) -> None:
    """Train with and without the input on each world, and write the table of test AUCs beside the optimum.

    A run that is finished is only evaluated again.

    Args:
      runs: folder for the stores and the run folders.
      only: time, tags or channels; all of them if left out. The other rows of the table stay as they are.
      seeds: how many; of the parameters, the order of the data and the negatives.
      epochs: of each run; the best on the validation split counts.
      users: of each world.
      results: folder for input_worlds.json and input_worlds.md.
    """
    for name in only or CASES:
        case = CASES[name]
        world = replace(case.world, users=users)
        log = world.log()
        for given in (True, False):
            at = runs / f"{name}_{'with' if given else 'without'}"
            store = store_of(log, at / "store", case.always | (case.given if given else {}))
            best, found = _optimum(world, log, store, given), []
            for seed in range(seeds):
                of = config(store.schema, world.events - 1, epochs, seed)
                run = fit_store(of, store, at / str(seed), resume=True, progress=False)
                found.append({"seed": seed, "auc": evaluate(run, store, "test")["auc"]})
                print(at.name, found[-1], f"optimum {best:.4f}", flush=True)
            row = {"world": name, "input": given, "optimum": best, "seeds": found}
            keep(results / "input_worlds", row, ("world", "input"), table)


def store_of(log: pd.DataFrame, out: Path, how: dict[str, Any]) -> Store:
    if is_store(out):
        return Store.open(out)
    return prepare(log, out, user="user", item="item", time="time", protocol="last", test_fraction=0.25, **how)


def _optimum(world: World, log: pd.DataFrame, store: Store, given: bool) -> float:
    """The highest expected AUC of any scorer of the test users' last events.

    Negatives are drawn by how often the log has each item. Who knows no item by its id expects its probability.
    """
    users = store.user_values()[store.samples("test").user_N].astype(int)
    p_UV = world.next_item(log[log["user"].isin(users)], given)
    counts_V = np.bincount(log["item"], minlength=world.items)
    return optimal_auc(p_UV, world.popularity_V if isinstance(world, TagWorld) else counts_V)


def config(schema: Schema, T: int, epochs: int, seed: int) -> Config:
    """The config of a run: smaller batches and a larger rate than the demo's, and no early stop.

    Vectors of items are short: what is known of an item stands in its other fields.
    """
    of = world_config("DIEN", {"kind": "AUGRU", "auxiliary_hidden": (32, 16)}, epochs, seed)
    return replace(
        of,
        model=replace(of.model, dim={t.name: 4 if t.name == "item" else 12 for t in schema.tables}),
        data=replace(of.data, batch_size=64, lengths=(T,)),
        optimizer=replace(of.optimizer, learning_rate=5e-3),
        fit=replace(of.fit, patience=0),
    )


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = ["| what matters | is an input | test AUC | by seed | optimum |", "|---|---|---|---|---|"]
    for row in rows:
        by_seed = " ".join(f"{seed['auc']:.4f}" for seed in row["seeds"])
        given = "yes" if row["input"] else "no"
        lines.append(f"| {row['world']} | {given} | {auc(row)} | {by_seed} | {row['optimum']:.4f} |")
    return "\n".join(lines) + "\n"
