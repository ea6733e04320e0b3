"""A run trained on eight devices, its checkpoint on others, in a process of its own: prints what was found, as JSON."""

import hashlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from dienjax import Config, DataConfig, FitConfig, ModelConfig, Run, Store, evaluate, fit_store
from dienjax.export import export_run
from dienjax.training import checkpoint, layout
from dienjax.training.layout import DevicesConfig, Layout

SMALL_MODEL = {"attention_hidden": (8,), "tower": (8,), "auxiliary_hidden": (8,)}


def config(rows, optimizer_rows="lazy"):
    base = Config(
        ModelConfig("DIEN", 4, SMALL_MODEL),
        DataConfig(train="train_all", batch_size=64, lengths=(9,)),
        fit=FitConfig(epochs=1, log_every=3, patience=0),
        devices=DevicesConfig(tables=rows),
    )
    return replace(base, optimizer=replace(base.optimizer, rows=optimizer_rows))


def exported(run, folder):
    """The SHA-256 of each file of an export."""
    made = export_run(run, folder, form="stablehlo")
    files = [p for p in made.rglob("*") if p.is_file() and p.name not in ("export.json", "manifest.json")]
    return {str(p.relative_to(made)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def main(store, folder):
    layout.SMALL = 9  # or no table of this small world would be spread
    store, folder = Store.open(store), Path(folder)
    trained = fit_store(config("rows"), store, folder / "trained", progress=False)
    tx, kind = trained.optimizer(), trained.chosen
    whole, position = trained.restore(kind, tx)
    files = exported(trained.path, folder / "export")
    found = {"spread": sorted(trained.layout().spread), "moved": {}}
    for n in (1, 2, 4):
        there = Layout(trained.schema, tuple(jax.devices()[:n]), "rows", 9)
        state, _ = trained.restore(kind, tx, there)
        shards = {str(s.data.shape) for s in state.params["embedder"]["item"].addressable_shards}
        copy = folder / f"copy{n}"
        shutil.copytree(trained.path, copy)
        shutil.rmtree(copy / "checkpoints")
        checkpoint.save(copy, kind, state, position, there)
        again, _ = Run.open(copy).restore(kind, tx)
        equal = jax.tree.all(jax.tree.map(lambda a, b: bool(np.array_equal(a, b)), whole, again))
        same = exported(copy, folder / f"export{n}") == files
        found["moved"][n] = {"shards": len(shards), "equal": equal, "same_export": same}
    spread = evaluate(trained, store)
    (copy := Run.open(folder / "copy1")).__dict__["config"] = config("replicated")
    found["metrics"] = [spread["auc"], evaluate(copy, store)["auc"]]
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
