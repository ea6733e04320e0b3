"""The demo: DIN and DIEN on a generated world of drifting interests, beside the best possible AUC, and a report."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dienjax.data.drift import DriftWorld, optimal_auc
from dienjax.data.store import Store, is_store
from dienjax.preparation.prepare import prepare
from dienjax.report.needed import missing
from dienjax.report.truth import Truth
from dienjax.report.write import write_report
from dienjax.storage.files import write_json
from dienjax.storage.folders import Purpose, is_empty, new_folder
from dienjax.storage.leftovers import HIDDEN
from dienjax.training.config import Config, DataConfig, FitConfig, ModelConfig
from dienjax.training.evaluation import evaluate
from dienjax.training.loop import fit_store
from dienjax.training.losses import LossConfig
from dienjax.training.optimizers import OptimizerConfig
from dienjax.training.run import is_run

REPORT = "report.html"


def demo(out: str | Path, world: DriftWorld | None = None, epochs: int = 4) -> dict[str, float]:
    """The test AUC of DIN, of DIEN and of the optimum.

    A store, two runs and a report on both take the place of an earlier demo; without the packages of the extra "report"
    there is no report.
    """
    world = world or DriftWorld()
    both = (("DIN", {"softmax": True}), ("DIEN", {"kind": "AUGRU"}))
    configs = {name: world_config(name, options, epochs, world.seed) for name, options in both}
    log = world.log()
    with new_folder(out, True, PURPOSE):
        pass
    out = Path(out)
    store, results = world_store(log, out / "store"), {}
    for name, config in configs.items():
        results[name] = evaluate(fit_store(config, store, out / name.lower()), store, "test")["auc"]
    users = store.user_values()[store.samples("test").user_N]
    items = log.sort_values(["user", "time"]).groupby("user")["item"].apply(list)
    p_UV = world.next_item([items[user][:-1] for user in users])
    results["optimum"] = optimal_auc(p_UV, np.bincount(log["item"], minlength=world.items))
    write_json(out / "result.json", results)
    if not missing():
        write_report([out / name.lower() for name in configs], out / REPORT, store=store, truth=Truth(world))
    return results


def world_store(log: pd.DataFrame, out: str | Path) -> Store:
    """The store of a generated world's log, protocol last."""
    users, items = log["user"].nunique(), log["item"].nunique()
    print(f"{users:,} users whose interest drifts, {len(log):,} events of {items} items")
    return prepare(log, out, user="user", item="item", time="time", attributes=["category"], test_fraction=0.25)


def world_config(name: str, options: dict[str, Any], epochs: int, seed: int) -> Config:
    """The config that DIN and DIEN are trained with on a generated world."""
    return Config(
        ModelConfig(name, dim=8, options={**options, "attention_hidden": (32,), "tower": (64, 32)}),
        DataConfig(train="train_all", batch_size=256, lengths=(20,)),
        LossConfig(alpha=0.5),
        OptimizerConfig(learning_rate=3e-3, schedule="cosine"),
        FitConfig(epochs=epochs, seed=seed),
    )


def is_demo(path: Path) -> bool:
    """Whether a folder holds what a demo leaves, finished or not, and nothing else."""
    parts = {"store": is_store, "din": is_run, "dien": is_run, "result.json": Path.is_file, REPORT: Path.is_file}
    return all(
        entry.name in parts and (is_empty(entry) or parts[entry.name](entry))
        for entry in path.iterdir()
        if not HIDDEN.fullmatch(entry.name)
    )


PURPOSE = Purpose("a demo", is_demo)
