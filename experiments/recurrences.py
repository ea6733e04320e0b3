"""Is a recurrence without a sequence as good? AUGRU, minAUGRU, and minAUGRU after minGRU on the same seeds, in pairs.

    python -m experiments.recurrences --data DATA --runs runs/recurrences

DATA holds the public data sets, as for `experiments.results`. A run that is finished is only evaluated again.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import tyro

from dienjax import Config, Store, evaluate, fit_store
from dienjax.data.drift import DriftWorld
from dienjax.demo import world_config, world_store
from experiments.benchmark.measure import ROOT
from experiments.results import auc, gain, prepared
from experiments.rows import keep

KINDS = {
    "AUGRU": (),
    "minAUGRU": ("model.kind=minAUGRU",),
    "minAUGRU after minGRU": ("model.kind=minAUGRU", "model.extractor=minGRU"),
}
CASES = {
    "sports_last_dien": ("sports_last", ()),
    "sports_targets_all_dien": ("sports_last", ()),
    "beauty_last_dien": ("beauty_last", ()),
    "ml100k_last_dien": ("ml100k_last", ()),
    "ml100k_last_dien, T = 200": ("ml100k_last", ("data.max_len=200",)),
}
"""Store and changed settings, by what stands before the comma the name of a config."""
WORLD = "the demo's world"


def main(
    data: Path,
    runs: Path,
    seeds: int = 5,
    only: Annotated[tuple[str, ...], ...] = (),
    results: Path = ROOT / "experiments/results",
) -> None:
    """Train each kind on each data set with each seed, and write the table of test AUCs.

    Args:
      data: folder of the public data sets.
      runs: folder for the stores and the run folders.
      seeds: how many; of the parameters, the order of the data and the negatives.
      only: names of cases; all of them if left out. The other rows of the table stay as they are.
      results: folder for recurrences.json and recurrences.md.
    """
    for case in only or (*CASES, WORLD):
        for kind, options in KINDS.items():
            name = f"{case.replace(', T = ', '_')}_{kind}".replace(" ", "_").replace("'", "")
            found = []
            for seed, (config, store) in enumerate(_configs(case, options, seeds, data, runs)):
                run = fit_store(config, store, runs / f"{name}_{seed}", resume=True, progress=False)
                found.append({"seed": seed, "auc": evaluate(run, store, "test")["auc"]})
                print(case, kind, found[-1], flush=True)
            keep(results / "recurrences", {"case": case, "kind": kind, "seeds": found}, ("case", "kind"), table)


def _configs(case: str, options: tuple[str, ...], seeds: int, data: Path, runs: Path) -> Iterator[tuple[Config, Store]]:
    """The config and the store of each seed."""
    for seed in range(seeds):
        if case == WORLD:
            overrides = dict(option.removeprefix("model.").split("=") for option in options)
            folder = runs / "stores/world"
            store = Store.open(folder) if folder.exists() else world_store(DriftWorld().log(), folder)
            yield world_config("DIEN", {"kind": "AUGRU"} | overrides, 4, seed), store
        else:
            name, (source, changes) = case.partition(",")[0], CASES[case]
            file = ROOT / "experiments" / f"{name}.toml"
            yield Config.load(file, [*options, *changes, f"fit.seed={seed}"]), prepared(source, 1, data, runs)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, each kind beside AUGRU: the mean difference over seeds, and its 95 % interval (t)."""
    lines = ["| data | recurrence | test AUC | by seed | over AUGRU, in pairs |", "|---|---|---|---|---|"]
    for row in rows:
        (base,) = (r for r in rows if (r["case"], r["kind"]) == (row["case"], "AUGRU"))
        paired = "" if row is base else gain(row, base)
        by_seed = " ".join(f"{seed['auc']:.4f}" for seed in row["seeds"])
        lines.append("| " + " | ".join([row["case"], row["kind"], auc(row), by_seed, paired]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    tyro.cli(main, prog="python -m experiments.recurrences")
