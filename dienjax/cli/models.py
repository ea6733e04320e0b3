"""The commands about models: the demo, train, evaluate, report, predict, describe."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from dienjax.cli.arguments import Overrides, dumps


def demo(out: Path = Path("runs/demo"), epochs: int = 4, seed: int = 0) -> None:
    """Train DIN and DIEN on a generated world of drifting interests, beside the best AUC that is possible there.

    Args:
      out: folder for the data set, the two runs and a report on them; an earlier demo there is replaced.
      epochs: passes over the training events.
      seed: of the world and of the training.
    """
    from dienjax.data.drift import DriftWorld
    from dienjax.demo import REPORT
    from dienjax.demo import demo as run_demo
    from dienjax.report.needed import missing
    from dienjax.training.compilation import cache_compilations

    cache_compilations()
    results = run_demo(out, DriftWorld(seed=seed), epochs)
    for name, auc in results.items():
        print(f"test AUC  {name:<8} {auc:.4f}")
    if missing():
        print(f"no {out}/{REPORT}, as it needs {', '.join(missing())}: pip install 'dienjax[report]'")
    else:
        print(f"open {out}/{REPORT} in a browser: what the models are worth, and how interests evolve in them")


def train(
    config: Positional[str],
    store: Path,
    run: Path,
    overrides: Overrides = (),
    init_from: Path | None = None,
    resume: bool = False,
    distributed: Annotated[str, arg(metavar="auto|HOST:PORT,I/N")] = "",
    wait: int = 300,
    force: bool = False,
    quiet: bool = False,
) -> None:
    """Train a model on an event store and leave a run folder.

    It takes all devices that JAX finds, which must divide data.batch_size; --set devices.count=1 takes one. For several
    machines start it on each of them, with --distributed and the same files at the same paths.

    Args:
      config: TOML file, or the name of one that is shipped: dien, din.
      store: event store, as `dienjax prepare` writes it.
      run: folder for the checkpoints, the metrics and the curves; with fit.seeds=3, for those of three runs.
      overrides: one changed setting, with the value written as in TOML; may be given again.
      init_from: run folder whose weights the new run starts from: embedding rows go where their values went, values
        that the run did not know keep their initialisation; prints how many of each table. The model must be the same.
      resume: go on where a stopped run was, on the same data; starts it if there is none. With --set fit.epochs=20, or
        a larger fit.patience, a finished run goes on too.
      distributed: this is one of several processes. auto, as SLURM, Open MPI, GKE or Cloud TPU has started them; else
        the address of process 0, and which of them this is (from 0) of how many: 10.0.0.1:1234,0/2.
      wait: seconds until all of them must have arrived.
      force: replace the run folder if it exists.
      quiet: no progress bar, no counts of rows.
    """
    from dienjax.data.store import Store
    from dienjax.storage.folders import check_free
    from dienjax.training.compilation import cache_compilations
    from dienjax.training.config import Config
    from dienjax.training.loop import fit_store
    from dienjax.training.processes import connect
    from dienjax.training.run import PURPOSE
    from dienjax.training.seeds import fit_seeds

    if distributed:
        connect(distributed, wait)
    cache_compilations()
    settings = Config.load(config, overrides)
    if force and not resume:
        check_free(run, force, PURPOSE, [Path(config)])
    how = {"resume": resume, "force": force, "progress": not quiet}
    if settings.fit.seeds > 1:
        if init_from:
            raise ValueError(f"--init-from {init_from}: several seeds (fit.seeds={settings.fit.seeds}) start afresh")
        run = fit_seeds(settings, Store.open(store), run, **how)[0].path
    else:
        fit_store(settings, Store.open(store), run, init_from=init_from, **how)
    print(f"{run}: trained; `dienjax evaluate {run}` measures it on the test split")


def evaluate(run: Positional[Path], store: Path | None = None, split: str = "test", json: bool = False) -> None:
    """Measure a run's best checkpoint: AUC, GAUC, log loss and calibration (regression: RMSE and MAE).

    Args:
      run: run folder.
      store: event store; the one the run was trained on if left out.
      split: one of the store's splits.
      json: print one JSON object; what is not defined, such as the AUC of a single class, is null.
    """
    from dienjax.data.store import Store
    from dienjax.training.compilation import cache_compilations
    from dienjax.training.evaluation import evaluate as measure
    from dienjax.training.metrics import to_json
    from dienjax.training.run import Run

    cache_compilations()
    opened = Run.open(run)
    metrics = to_json(measure(opened, Store.open(store) if store else opened.store(), split))
    if json:
        print(dumps({"run": str(run), "split": split, **metrics}))
        return
    for name, value in metrics.items():
        print(f"{name:<12} {'undefined' if value is None else f'{value:.6g}'}")


def report(
    runs: Positional[tuple[Path, ...]],
    output: Path | None = None,
    split: str = "test",
    store: Path | None = None,
    users: tuple[str, ...] = (),
    anonymous: bool = False,
    seed: int = 0,
    quiet: bool = False,
) -> None:
    """Write one HTML page about runs: what they are worth, where they are wrong, and how an interest evolves in them.

    The page opens in a browser, needs no network, and holds its numbers as JSON too.

    Args:
      runs: run folders, or folders of several seeds; several are shown side by side.
      output: the page; default: report.html in the run folder, or here for several runs.
      split: one of the store's splits.
      store: event store; the one the first run was trained on if left out.
      users: users of the split to look at, as they stand in the log; a sample of about 50 if left out.
      anonymous: have ids in place of the raw values of the log, to pass the page on.
      seed: of the intervals and of the sample of users.
      quiet: do not say what is being done.
    """
    from dienjax.report.write import write_report
    from dienjax.training.compilation import cache_compilations

    cache_compilations()
    output = output or (runs[0] if len(runs) == 1 else Path()) / "report.html"
    path = write_report(runs, output, split, store, users or None, anonymous, seed, progress=not quiet)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; open it in a browser")


def predict(
    run: Positional[Path],
    input: Path,
    output: Path,
    calibrate: Literal["platt", "isotonic"] | None = None,
    store: Path | None = None,
    force: bool = False,
    quiet: bool = False,
) -> None:
    """Add the model's probability to Parquet files of histories and candidates, however large they are.

    For each field f of an event, such as the item, a file has a list column hist_f (oldest first) and a column f with
    the candidate's or a list of candidates'; user features by their name. Values stand as in the log; a set is a list.

    Args:
      run: run folder.
      input: Parquet file to read; or a folder of them, or a glob in quotes.
      output: Parquet file to write; for a folder or a glob a folder, with a file of the same name for each.
      calibrate: scale the probabilities so that they add up to the positives of the run's validation split. platt: a
        slope and an intercept of the logit; isotonic: any rising function, for thousands of samples.
      store: event store of that split; the one the run was trained on if left out.
      force: replace the output if it exists: a file, or a folder that this command wrote.
      quiet: no progress bar.
    """
    from dienjax.training.compilation import cache_compilations
    from dienjax.training.prediction_files import predict_file

    cache_compilations()
    rows = predict_file(run, input, output, force, calibrate, store, not quiet)
    print(f"{output}: {rows:,} rows")


def describe(target: Positional[Path], store: Path | None = None, svg: Path | None = None) -> None:
    """Show a model as a table of modules, shapes and parameter counts, and as a diagram of its data flow.

    Args:
      target: run folder, or a TOML config or the name of one that is shipped: dien, din (then the schema comes from
        --store, or is an example).
      store: event store whose schema a config is described with.
      svg: where the diagram goes; default: model.svg in the run folder, or the config's name with .svg here.
    """
    from dienjax.report.describe import describe_file

    print(describe_file(target, store, svg))
