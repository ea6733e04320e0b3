"""The demo: DIN and DIEN on a generated world of drifting interests, beside the best AUC that is possible there."""

from pathlib import Path

import numpy as np

from dienjax.config import Config, DataConfig, FitConfig, ModelConfig
from dienjax.data.drift import DriftWorld, optimal_auc
from dienjax.evaluation import evaluate
from dienjax.files import new_folder, write_json
from dienjax.fitting import fit_store
from dienjax.losses import LossConfig
from dienjax.optimizers import OptimizerConfig
from dienjax.preparation.prepare import prepare


def demo(out: str | Path, world: DriftWorld | None = None, epochs: int = 4, force: bool = False) -> dict[str, float]:
    """The test AUC of DIN, of DIEN and of the optimum; leaves a store and two run folders in `out`."""
    world = world or DriftWorld()
    fit = FitConfig(epochs=epochs, seed=world.seed)
    log = world.log()
    with new_folder(out, force):
        pass
    out = Path(out)
    print(f"{world.users:,} users whose interest drifts, {len(log):,} events of {world.items} items")
    store = prepare(
        log, out / "store", user="user", item="item", time="time", attributes=["category"], test_fraction=0.25
    )
    results = {}
    for name, options in (("DIN", {"softmax": True}), ("DIEN", {"kind": "AUGRU"})):
        config = Config(
            ModelConfig(name, dim=8, options={**options, "attention_hidden": (32,), "tower": (64, 32)}),
            DataConfig(train="train_all", batch_size=256, lengths=(20,)),
            LossConfig(alpha=0.5),
            OptimizerConfig(learning_rate=3e-3, schedule="cosine"),
            fit,
        )
        run = fit_store(config, store, out / name.lower())
        results[name] = evaluate(run, store, "test")["auc"]
    users = store.user_values()[store.samples("test").user_N]
    items = log.sort_values(["user", "time"]).groupby("user")["item"].apply(list)
    p_UV = world.next_item([items[user][:-1] for user in users])
    results["optimum"] = optimal_auc(p_UV, np.bincount(log["item"], minlength=world.items))
    write_json(out / "result.json", results)
    return results
