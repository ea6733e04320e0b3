"""Serving: candidates of an encoded user, a load test, smaller tables, and what an export costs."""

import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

from experiments.benchmark import measure, serving_export, serving_load, serving_reduced, serving_scoring
from experiments.benchmark.serving_model import PACKAGES
from experiments.benchmark.setting import SIZES

MODEL = "experiments.benchmark.serving_model"
Table = Literal["scoring", "load", "reduced", "export"]


def main(
    store: Path | None = None,
    run: Path | None = None,
    tables: Annotated[tuple[Table, ...], ...] = ("scoring", "load", "reduced", "export"),
    events: int = 300_000,
    K: Annotated[tuple[int, ...], ...] = (1, 10, 50, 200, 1000),
    users: int = 40,
    clients: Annotated[tuple[int, ...], ...] = (1, 2, 4, 8),
    requests: int = 2000,
    rows: Annotated[tuple[int, ...], ...] = (10**4, 10**5, 10**6),
    rounds: int = 3,
    seconds: float = 1.0,
    seed: int = 0,
    results: Path = measure.ROOT / "experiments/benchmark/results",
) -> None:
    """Measure serving an exported DIEN with onnxruntime, four tables.

    "scoring": one user against the number of candidates, beside JAX and the libraries; "scorer" gets a user who is
    encoded. The libraries get histories padded to 50, onnxruntime without padding. "load": `Ranker` gets raw values
    from several threads at once, 100 candidates and 50 events a request. "reduced": a trained run with smaller tables,
    on its test split. "export": seconds, memory and bytes against the rows of the item table. All but "reduced" take
    random weights. Every answer of "scoring" and of "load" is compared with JAX's.

    Args:
      store: prepared store, from whose test split "scoring" draws histories (a generated log if not given), and on
        which "reduced" tests `run` (the store that it was trained on if not given).
      run: trained run for "reduced", which is left out without it.
      tables: which of the four to measure.
      events: size of the generated log.
      K: numbers of candidates.
      users: users drawn from the store.
      clients: numbers of threads that send requests.
      requests: requests of each measurement of "load".
      rows: sizes of the item table for "export".
      rounds: processes of each case, in turn.
      seconds: duration of each measurement.
      seed: seed of the draws and of the generated log.
      results: folder for serving_<table>.json, and .png.
    """
    missing = measure.left_out({"jax2onnx": "onnx", "onnxruntime": "onnx"})
    if missing:
        print("serving:", *missing.values(), sep="\n")
        return
    facts: dict[str, Any] = {"machine": measure.machine(*PACKAGES), "seed": seed, "rounds": rounds}
    to = {name: results / f"serving_{name}" for name in tables if run or name != "reduced"}
    if len(to) < len(tables):
        print("left out: reduced needs a trained run; name one with --run")
    with tempfile.TemporaryDirectory() as folder:
        made = {"run": f"{folder}/run", "folder": f"{folder}/exported"}
        if {"scoring", "load"} & to.keys():
            measure.in_child(f"{MODEL}:write_run", out=made["run"], sizes=SIZES)
            measure.in_child(f"{MODEL}:export", run=made["run"], out=made["folder"])
        if "scoring" in to:
            path = str(store.absolute()) if store else f"{folder}/store"
            if not store:
                measure.in_child("experiments.benchmark.ours:prepared", out=path, events=events, seed=seed)
            about = facts | {"store": store.name if store else f"{events} events"}
            given = {"K": K, "users": users, "rounds": rounds, "seconds": seconds, "seed": seed}
            serving_scoring.table(to["scoring"], about, store=path, **made, **given)
        if "load" in to:
            serving_load.table(to["load"], facts, clients=clients, requests=requests, rounds=rounds, seed=seed, **made)
        if run and "reduced" in to:
            of = {"run": str(run.absolute()), "store": str(store.absolute()) if store else ""}
            given = {"folder": f"{folder}/reduced", "rounds": rounds, "seconds": seconds, "seed": seed}
            serving_reduced.table(to["reduced"], facts, **of, **given)
        if "export" in to:
            serving_export.table(to["export"], facts, rows, rounds, folder)
