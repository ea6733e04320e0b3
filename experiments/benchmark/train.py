"""Epochs of training: dienjax.fit beside deepctr-torch's fit, torch-rechub's CTRTrainer and FuxiCTR's fit."""

import itertools
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from experiments.benchmark import measure, report
from experiments.benchmark.goals import Goal, checked
from experiments.benchmark.setting import LIBRARIES, PACKAGES, T

HERE = "experiments.benchmark.train"
SCORED = 1024
AT_OURS = ", our initialisation"
FUXICTR = "fuxictr, no auxiliary loss"
PEERS = LIBRARIES | {"fuxictr": "fuxictr"}

COLUMNS = {
    "batch": "rows a batch",
    "what": "what",
    "epochs": "steady epochs",
    "rows_per_s": "rows/s",
    "times_faster": "times the faster library",
    "fit_s": "all epochs, s",
    "first_cold_s": "first step, s",
    "first_warm_s": "from cache, s",
    "gb": "peak, GB",
    "auc": "test AUC",
    "auc_more": "over the better library's",
}

GOALS = tuple(
    Goal({"batch": batch, "what": what}, column, bound, least=True)
    for batch in (128, 1024)
    for what, column, bound in (
        ("dienjax", "times_faster", 10),
        ("dienjax, all T = 50", "times_faster", 3),
        ("dienjax", "auc_more", 0),
    )
) + tuple(
    Goal({"batch": batch, "what": "dienjax"}, column, seconds)
    for batch in (128, 1024)
    for column, seconds in (("first_cold_s", 8), ("first_warm_s", 2))
)


def main(
    store: Path | None = None,
    events: int = 300_000,
    batches: Annotated[tuple[int, ...], ...] = (128, 1024),
    epochs: int = 3,
    samples: int = 0,
    rounds: int = 1,
    seed: int = 0,
    results: Path = measure.ROOT / "experiments/benchmark/results",
) -> None:
    """Measure training epochs end to end: rows per second, test AUC, memory, seconds to the first step.

    A row is a history with one candidate: a positive and its sampled negative are two. The libraries get the rows
    ready-made, with histories padded to 50, and train in their own loops; dienjax reads the store and draws negatives
    while it trains. "rows/s" is the median of all epochs but the first, without evaluation. "all epochs" is the whole
    call, compilation and checkpoints included. "first step" is that of T = 50 from a new model, compilation included;
    "from cache", with the programs that an earlier process kept. All are scored on the same test candidates.

    "Our initialisation" is the library's model and loop from parameters drawn as ours, for what AUC owes to them.
    FuxiCTR's DIEN has no auxiliary loss. dienjax is compared with neither.

    Args:
      store: prepared store with behaviours alone, protocol last; a generated log if not given, on which there is
        hardly anything to learn.
      events: size of the generated log.
      batches: rows per batch.
      epochs: epochs of each run.
      samples: train on the first samples only, two rows each; 0 is all.
      rounds: runs of each case, in turn.
      seed: seed of the generated log and of the models.
      results: folder for train.json and train.png.
    """
    about = measure.machine(*PACKAGES, "fuxictr")
    left_out = measure.left_out(PEERS)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = str(store.absolute()) if store else f"{folder}/store"
        if not store:
            measure.in_child("experiments.benchmark.ours:prepared", out=path, events=events, seed=seed)
        sizes = {}
        for name, count in (("train", samples), ("test", 0)):
            given = {"out": f"{folder}/{name}.npz", "store": path, "name": name, "samples": count, "seed": seed}
            sizes = measure.in_child("experiments.benchmark.ours:write_columns", **given).answer
        initial = {library: f"{folder}/{library}.npz" for library in LIBRARIES if library not in left_out}
        for library, out in initial.items():
            measure.in_child("experiments.benchmark.initial:write", out=out, library=library, sizes=sizes, seed=seed)
        for batch in batches:
            both = {"batch": batch, "epochs": epochs, "seed": seed}
            mine = both | {"store": path, "samples": samples}
            others = both | {"folder": folder, "sizes": sizes}
            cases = {
                "dienjax": (f"{HERE}:ours", mine),
                "dienjax, rows dense": (f"{HERE}:ours", mine | {"rows": "dense"}),
                "dienjax, all T = 50": (f"{HERE}:ours", mine | {"slots": T}),
            }
            for library, parameters in initial.items():
                function = f"{HERE}:{library.replace('-', '_')}"
                cases[library] = (function, others)
                cases[library + AT_OURS] = (function, others | {"initial": parameters})
            if "fuxictr" not in left_out:
                cases[FUXICTR] = (f"{HERE}:fuxictr", others)
            print(f"{batch:,} rows a batch", flush=True)
            found = [_row(batch, what, costs) for what, costs in measure.in_turn(cases, rounds).items()]
            first = {"store": path, "batch": batch, "cache": f"{folder}/cache_{batch}"}
            for column in ("first_cold_s", "first_warm_s"):
                found[0][column] = measure.in_child(f"{HERE}:first_step", **first).answer
            rows += _compared(found)
    facts = {"machine": about, "store": store.name if store else f"{events} events", "epochs": epochs, "seed": seed}
    drawn = [row for row in rows if not row["what"].endswith(AT_OURS)]  # which change neither speed nor memory
    panels = [report.Panel(COLUMNS[y], report.lines(drawn, "batch", y)) for y in ("rows_per_s", "gb")]
    figure = report.Figure("An epoch of DIEN", "rows a batch", panels)
    goals = checked(GOALS, rows, COLUMNS)
    report.publish(results / "train", facts, rows, COLUMNS, goals, left_out.values(), figure)


def ours(
    store: str, batch: int, epochs: int, samples: int, seed: int, slots: int = 0, rows: str = "lazy"
) -> dict[str, Any]:
    """Rows per second of each epoch, seconds of the whole fit, and the test AUC."""
    from dienjax import fit
    from dienjax.training.evaluation import eval_loader, score
    from dienjax.training.progress import read_metrics
    from dienjax.training.step import make_eval_step
    from experiments.benchmark.ours import config, split

    of = config(batch // 2, (slots,) if slots else None, epochs, seed)
    of = replace(of, optimizer=replace(of.optimizer, rows=rows))
    train, test = split(store, "train", of, samples), split(store, "test", of)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run = fit(of, train, None, f"{folder}/run", progress=False)
        seconds = time.perf_counter() - start
        speeds = [line["rows_per_second"] for line in read_metrics(run.path / "metrics.jsonl")]
        scores = score(make_eval_step(run.model), run.variables(), eval_loader(test, SCORED, of.data.lengths))
    return _answer(speeds, seconds, scores.label_NK.ravel(), scores.logit_NK.ravel())


def first_step(store: str, batch: int, cache: str) -> float:
    """Seconds from a new model to the end of its first step, with XLA's programs kept in the folder `cache`."""
    import jax
    import numpy as np

    from experiments.benchmark.ours import config, split, training

    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)  # as the command line does
    of = config()
    train = split(store, "train", of, batch // 2)
    made = train.rows(np.arange(batch // 2), T, 0)
    start = time.perf_counter()
    training(of.model.build(train.schema), of.loss, [made])()
    return time.perf_counter() - start


def deepctr_torch(
    folder: str, sizes: dict[str, int], batch: int, epochs: int, seed: int, initial: str = ""
) -> dict[str, Any]:
    """The same for deepctr-torch's model.fit."""
    from deepctr_torch.callbacks import Callback

    from experiments.benchmark import theirs

    ticks: list[float] = []

    class Clock(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            ticks.append(time.perf_counter())

        on_epoch_begin = on_epoch_end

    x, y = _rows(folder, "train")
    model = theirs.build("deepctr-torch", sizes, T, seed, initial)
    model.compile("adam", "binary_crossentropy")
    start = time.perf_counter()
    model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0, callbacks=[Clock()])
    seconds = time.perf_counter() - start
    speeds = [len(y) / (after - before) for before, after in zip(ticks[::2], ticks[1::2], strict=True)]
    x, y = _rows(folder, "test")
    return _answer(speeds, seconds, y, model.predict(x, SCORED)[:, 0])


def torch_rechub(
    folder: str, sizes: dict[str, int], batch: int, epochs: int, seed: int, initial: str = ""
) -> dict[str, Any]:
    """The same for torch-rechub's DataGenerator and CTRTrainer."""
    from torch_rechub.trainers import CTRTrainer
    from torch_rechub.utils.data import DataGenerator

    from experiments.benchmark import theirs

    (x, y), (test_x, test_y) = [_rows(folder, name) for name in ("train", "test")]
    model = theirs.build("torch-rechub", sizes, T, seed, initial)
    start = time.perf_counter()
    trainer = CTRTrainer(model, optimizer_params={"lr": 1e-3}, loss_mode=False, model_path=folder)
    given = {"x_val": test_x, "y_val": test_y, "x_test": test_x, "y_test": test_y}
    loader, _, test = DataGenerator(x, y).generate_dataloader(**given, batch_size=batch)
    ticks = [time.perf_counter()]
    for _ in range(epochs):
        trainer.train_one_epoch(loader)
        ticks.append(time.perf_counter())
    speeds = [len(y) / (after - before) for before, after in itertools.pairwise(ticks)]
    return _answer(speeds, ticks[-1] - start, test_y, trainer.predict(model, test))


def fuxictr(folder: str, sizes: dict[str, int], batch: int, epochs: int, seed: int) -> dict[str, Any]:
    """The same for FuxiCTR's model.fit."""
    from experiments.benchmark import fuxictr_dien

    (x, y), (test_x, test_y) = [_rows(folder, name) for name in ("train", "test")]
    model = fuxictr_dien.build(sizes, folder, seed)
    ticks = [time.perf_counter()]

    def epoch_ended() -> None:
        ticks.append(time.perf_counter())
        model.save_weights(model.checkpoint)  # which fit loads at its end

    model.eval_step = epoch_ended  # in place of an evaluation
    model.fit(fuxictr_dien.loader(sizes, x, y, batch, shuffle=True), epochs=epochs)
    seconds = time.perf_counter() - ticks[0]
    speeds = [len(y) / (after - before) for before, after in itertools.pairwise(ticks)]
    return _answer(speeds, seconds, test_y, model.predict(fuxictr_dien.loader(sizes, test_x, test_y, SCORED)))


def _rows(folder: str, name: str) -> tuple[dict[str, Any], Any]:
    import numpy as np

    from experiments.benchmark import theirs

    return theirs.rows(dict(np.load(f"{folder}/{name}.npz")))


def _answer(speeds: list[float], seconds: float, label_N: Any, score_N: Any) -> dict[str, Any]:
    from sklearn.metrics import roc_auc_score

    return {"speeds": speeds, "fit_s": seconds, "auc": float(roc_auc_score(label_N, score_N))}


def _row(batch: int, what: str, costs: list[measure.Cost]) -> dict[str, Any]:
    steady = [speed for cost in costs for speed in cost.answer["speeds"][1:] or cost.answer["speeds"]]
    row = {"batch": batch, "what": what, "epochs": len(steady), "rows_per_s": round(statistics.median(steady))}
    row |= {name: round(statistics.median(c.answer[name] for c in costs), 4) for name in ("fit_s", "auc")}
    return row | {"gb": round(statistics.median(cost.gb for cost in costs), 3)}


def _compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one batch size, ours with how many times the rows per second of the faster library they have."""
    theirs = [row for row in rows if row["what"] in LIBRARIES]
    for row in rows:
        if theirs and row["what"].startswith("dienjax"):
            row["times_faster"] = round(row["rows_per_s"] / max(other["rows_per_s"] for other in theirs), 1)
            row["auc_more"] = round(row["auc"] - max(other["auc"] for other in theirs), 4)
    return rows
