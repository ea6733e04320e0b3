"""What a store, a run and an export hold, read back, and whether two such readings are equal."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def store_facts(path: Path) -> dict[str, Any]:
    """Every array, the schema and the vocabularies of an event store, through the public reader."""
    from dienjax import Store

    store = Store.open(path)
    facts: dict[str, Any] = {"schema": store.schema.to_json(), "offsets": store.offsets, "time": store.time_E}
    facts |= {f"event {name}": ids for name, ids in store.events.items()}
    facts |= {f"user {name}": ids for name, ids in store.users.items()}
    facts["hist_label"] = store.hist_label_E
    facts["users"] = store.user_values()
    for name in store.splits:
        samples = store.samples(name)
        facts |= {f"{name} user": samples.user_N, f"{name} end": samples.end_N}
        if (shown := samples.candidates) is not None:
            facts |= {f"{name} first": shown.first, f"{name} time": shown.time_N, f"{name} label": shown.label_C}
            facts |= {f"{name} candidate {field}": value for field, value in shown.field.items()}
    return facts | {f"vocabulary {t.name}": store.vocabulary(t.name) for t in store.schema.tables}


def run_facts(path: Path) -> dict[str, Any]:
    """The schema, the vocabularies and the trained variables of a run."""
    from dienjax import Run

    run = Run.open(path)
    facts: dict[str, Any] = {"schema": run.schema.to_json()}
    if run.has_vocabulary:
        facts |= {f"vocabulary {t.name}": run.vocabulary(t.name) for t in run.schema.tables}
    return facts | {f"variable {name}": value for name, value in leaves(run.variables()).items()}


def last_state(path: Path) -> dict[str, Any]:
    """All of the newest checkpoint of a run, the optimizer's state and the loop's position included."""
    from dienjax import Run

    run = Run.open(path)
    state, position = run.restore("last", run.optimizer())
    return {**leaves(state), "position": position}


def validations(path: Path) -> list[dict[str, Any]]:
    """What validation measured, without the seconds and the memory it took."""
    lines = map(json.loads, (path / "metrics.jsonl").read_text().splitlines())
    timed = ("second", "time", "per_s", "memory")
    return [
        {k: v for k, v in line.items() if not any(t in k for t in timed)} for line in lines if line["kind"] == "valid"
    ]


def leaves(tree: Any) -> dict[str, np.ndarray]:
    import jax

    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(tree)}


def difference(a: dict[str, Any], b: dict[str, Any]) -> str:
    """The first thing that differs; empty where nothing does."""
    if a.keys() != b.keys():
        return f"there are {sorted(a.keys() ^ b.keys())}"
    return next((name for name in a if not _equal(a[name], b[name])), "")


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, pd.DataFrame | pd.Series):
        return a.equals(b)
    return a == b


def damaged_checkpoints(run: Path) -> list[str]:
    """The newest checkpoint of a kind, where its files are not those of its manifest; older ones are being removed."""
    newest = [max(steps, key=lambda p: int(p.name)) for kind in ("last", "best") if (steps := _steps(run, kind))]
    return [str(path.relative_to(run)) for path in newest if not _as_listed(path)]


def _steps(run: Path, kind: str) -> list[Path]:
    return [*run.glob(f"checkpoints/{kind}/[0-9]*")]


def _as_listed(folder: Path) -> bool:
    if not (folder / "manifest.json").is_file():
        return False
    manifest = json.loads((folder / "manifest.json").read_text())
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {"manifest.json"}
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in there}
    return digests == manifest
