"""The test AUC of the shipped configs on public data, with other inputs and without, on the same seeds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from dienjax import Config, evaluate, fit_store
from experiments.benchmark.measure import ROOT
from experiments.results import auc, gain, prepared
from experiments.rows import keep


@dataclass(frozen=True)
class Inputs:
    """Options of a recipe, and settings of the config."""

    recipe: tuple[str, ...] = ()
    config: tuple[str, ...] = ()


GAP = ("--time-field", "gap")
IN_ATTENTION = ("model.attention_time=gap",)
ITEMS = (
    *("--items", "{data}/amazon_sports/items.tsv.gz"),
    *("--attribute", "category", "--attribute", "brand_attr", "--attribute", "all_attrs "),
)
GENRES = ("--attribute", "genres")
SPORTS = {
    "category": Inputs(),
    "category, gap": Inputs(GAP),
    "category, gap, in the attention too": Inputs(GAP, IN_ATTENTION),
    "category, brand, attributes": Inputs(ITEMS),
    "category, brand, attributes, gap": Inputs((*ITEMS, *GAP)),
}
CASES = {
    "sports_last_dien": ("sports_last", SPORTS),
    "sports_targets_all_dien": ("sports_last", SPORTS),
    "ml100k_last_dien": (
        "ml100k_last",
        {
            "first genre": Inputs(),
            "all genres": Inputs(GENRES),
            "first genre, gap": Inputs(GAP),
            "first genre, gap, in the attention too": Inputs(GAP, IN_ATTENTION),
        },
    ),
    "ml100k_user_dien": (
        "ml100k_user",
        {
            "first genre, rating as an id": Inputs(),
            "first genre, rating as a number": Inputs(("--number", "rating")),
            "all genres, rating as an id": Inputs(GENRES),
            "first genre, rating as an id, gap": Inputs(GAP),
        },
    ),
}
"""For each config its store and what is compared; all are held to the first."""


def main(
    data: Path,
    runs: Path,
    only: Annotated[tuple[str, ...], ...] = (),
    inputs: Annotated[tuple[str, ...], ...] = (),
    seeds: int = 3,
    results: Path = ROOT / "experiments/results",
) -> None:
    """Train the shipped configs with each choice of inputs, and write the table of test AUCs.

    A run that is finished is only evaluated again.

    Args:
      data: folder of the public data sets.
      runs: folder for the stores and the run folders.
      only: names of configs; all of them if left out. The other rows of the table stay as they are.
      inputs: names of choices, such as "category, gap"; all of them if left out.
      seeds: how many; of the parameters, the order of the data and the negatives.
      results: folder for inputs.json and inputs.md.
    """
    for name in only or CASES:
        store_name, choices = CASES[name]
        for what in inputs or choices:
            options = choices[what]
            suffix = "".join(f"_{word}" for word in what.replace(",", "").split())
            store, found = prepared(store_name, 1, data, runs, suffix, options.recipe), []
            for seed in range(seeds):
                config = Config.load(ROOT / "experiments" / f"{name}.toml", [*options.config, f"fit.seed={seed}"])
                run = fit_store(config, store, runs / f"{name}{suffix}_{seed}", resume=True, progress=False)
                found.append({"seed": seed, "auc": evaluate(run, store, "test")["auc"]})
                print(name, what, found[-1], flush=True)
            keep(results / "inputs", {"config": name, "inputs": what, "seeds": found}, ("config", "inputs"), table)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, each beside the first of its config: the mean difference, and its 95 % interval (t)."""
    lines = ["| config | inputs | test AUC | by seed | over the first, in pairs |", "|---|---|---|---|---|"]
    for row in rows:
        base = next(r for r in rows if r["config"] == row["config"])
        paired = "" if row is base else gain(row, base)
        by_seed = " ".join(f"{seed['auc']:.4f}" for seed in row["seeds"])
        lines.append("| " + " | ".join([row["config"], row["inputs"], auc(row), by_seed, paired]) + " |")
    return "\n".join(lines) + "\n"
