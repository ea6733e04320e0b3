"""The command line: each command is a function, its arguments are the function's, its help is the docstring."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

Overrides = Annotated[UseAppendAction[tuple[str, ...]], arg(name="set", metavar="SECTION.KEY=VALUE")]
Files = Annotated[tuple[str, ...], arg(metavar="FILE...")]
Column = Annotated[str, arg(metavar="COLUMN")]
Columns = UseAppendAction[tuple[str, ...]]
Tables = Annotated[Columns, arg(name="table", metavar="TABLE=NAME")]
Expression = Annotated[str | None, arg(metavar="COLUMN|EXPRESSION")]


def demo(out: Path = Path("runs/demo"), epochs: int = 4, seed: int = 0) -> None:
    """Train DIN and DIEN on a generated world of drifting interests, beside the best AUC that is possible there.

    Args:
      out: folder for the data set and the two runs; an earlier demo there is replaced.
      epochs: passes over the training events.
      seed: of the world and of the training.
    """
    from dienjax.data.drift import DriftWorld
    from dienjax.demo import demo as run_demo
    from dienjax.training.compilation import cache_compilations

    cache_compilations()
    results = run_demo(out, DriftWorld(seed=seed), epochs)
    for name, auc in results.items():
        print(f"test AUC  {name:<8} {auc:.4f}")
    print(f"look at {out}/dien/curves.png; `dienjax describe {out}/dien` shows the model")


def prepare(
    events: Files,
    user: Column,
    item: Column,
    time: Column,
    out: Path,
    attributes: Annotated[Columns, arg(name="attribute", metavar="COLUMN")] = (),
    user_attributes: Annotated[Columns, arg(name="user-attribute", metavar="COLUMN")] = (),
    protocol: Literal["last", "all", "time", "user"] | None = None,
    hist_label: Expression = None,
    impressions: Files = (),
    label: Expression = None,
    context: Annotated[Columns, arg(metavar="COLUMN")] = (),
    dense: Annotated[Columns, arg(metavar="COLUMN")] = (),
    min_count: int = 1,
    drop_duplicates: bool = False,
    like: Annotated[Path | None, arg(metavar="STORE")] = None,
    grow: bool = False,
    engine: Literal["auto", "memory", "duckdb", "spark"] = "auto",
    test_fraction: float = 0.1,
    valid_fraction: float = 0.05,
    user_id: bool = False,
    seed: int = 0,
    force: bool = False,
    quiet: bool = False,
) -> None:
    """Make an event store of a log: CSV, TSV or Parquet files with a row per event, plain or .gz, .bz2, .zst, .lz4.

    A folder is the log of the files in it; names of its folders such as day=2026-11-01 are a column, day.

    Without impressions the model learns to tell a user's next event from a sampled negative; with impressions,
    candidates that were shown and a label, it learns that label from the user's events strictly before.

    Recipes for public data sets (Amazon, MovieLens) are in data_prep, in a clone of the repository; not installed.

    Args:
      events: files or folders of the log, or a glob in quotes.
      user: column of the user.
      item: column of the item.
      time: column of the time: numbers, or ISO 8601 dates; rows of equal user and time keep their order.
      out: folder for the event store.
      attributes: column of an event beside the item, such as its category; may be given again.
      user_attributes: column with one value per user, such as the city; may be given again.
      protocol: last: users are split, the last event is the target (DIEN paper; the default without impressions);
        all: leave one out, every prefix trains (DIN paper); time: the latest impressions test (the default with them);
        user: the impressions of some users test.
      hist_label: column or expression of the events in 0 to 1, such as "rating >= 4": was it a positive signal?
      impressions: files or folders of candidates that were shown, with the columns of user, item, time and attributes.
      label: column or expression of the impressions: 0 or 1 (clicked), or a number for regression.
      context: column of the impressions whose values get ids, such as the position; may be given again.
      dense: column of the impressions that holds numbers; may be given again.
      min_count: an item or attribute that stands in fewer training rows is unknown.
      drop_duplicates: keep only the first of events of equal user, time and item.
      like: an earlier store, whose values keep their ids; new values are unknown.
      grow: give new values ids after those of --like, for `dienjax train --init-from`.
      engine: memory; duckdb for a log larger than that (install dienjax[duckdb]); spark on a cluster or with the cores
        here (install dienjax[spark] and Java; SPARK_CONF_DIR and PYSPARK_SUBMIT_ARGS hold its settings). The result
        is equal; auto takes memory or duckdb by the size of the files.
      test_fraction: share of the users, or by time of the impressions, that test.
      valid_fraction: share of the others for validation.
      user_id: make the user a feature too.
      seed: decides which users test and which negatives they meet.
      force: replace a store that already stands in the folder.
      quiet: no progress bar.
    """
    from dienjax.inspection.inspect import summary
    from dienjax.preparation.prepare import prepare as make_store

    store = make_store(
        list(events), out, user=user, item=item, time=time, attributes=attributes, user_attributes=user_attributes,
        protocol=protocol, hist_label=hist_label, impressions=list(impressions) or None, label=label, context=context,
        dense=dense, min_count=min_count, drop_duplicates=drop_duplicates, like=like, grow=grow, engine=engine,
        seed=seed, test_fraction=test_fraction, valid_fraction=valid_fraction, user_id=user_id, force=force,
        progress=not quiet,
    )  # fmt: skip
    print(summary(store))


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
        print(_dumps({"run": str(run), "split": split, **metrics}))
        return
    for name, value in metrics.items():
        print(f"{name:<12} {'undefined' if value is None else f'{value:.6g}'}")


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

    For each behaviour b of the run, such as the item, a file has a list column hist_b (oldest first) and a column b
    with the candidate or a list of candidates; user features by their name. Values stand as in the log.

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


def inspect(store: Positional[Path], json: bool = False, picture: Path | None = None) -> None:
    """Show what an event store holds, and check it: counts, splits, history lengths, unknown ids, leaks, sizes.

    A leak is a history that holds an event after the time of its label; the exit code is then 1. A damaged store, such
    as one whose times are out of order, is an error.

    Args:
      store: event store, as `dienjax prepare` writes it.
      json: print one JSON object with everything; what is not defined, such as the label rate of no labels, is null.
      picture: PNG, SVG or PDF file for history lengths and activity over time.
    """
    from dataclasses import asdict

    from dienjax.inspection.inspect import alarms, inspect_store, text

    facts = inspect_store(store)
    if picture:
        from dienjax.inspection.picture import draw

        draw(facts, picture)
    print(_dumps(asdict(facts)) if json else text(facts))
    if alarms(facts):
        sys.exit(1)


def export(
    run: Positional[Path],
    output: Path,
    form: Literal["onnx", "stablehlo"] = "onnx",
    tables: Literal["float32", "float16", "int8"] = "float32",
    ids: Literal["int64", "int32"] = "int64",
    split: str = "",
    store: Path | None = None,
    force: bool = False,
) -> None:
    """Export a run's best checkpoint for serving, checked against JAX before anything is there.

    The folder has the ranker (histories and candidates to probabilities), the same in two parts for many requests of
    one user (encoder of the history, scorer of candidates), and the vocabularies. `dienjax.serving.Ranker` reads it.

    Args:
      run: run folder.
      output: folder to write.
      form: onnx, for onnxruntime (install dienjax[onnx]), or stablehlo, for XLA.
      tables: how the numbers of the embedding tables are kept: float16 takes half the memory, int8 a
        quarter and four bytes a row.
      ids: type of the ids that the ONNX graphs take; StableHLO programs take either.
      split: one of the store's splits, such as test: all its samples are compared too, and the AUC. Only with onnx.
      store: event store of that split; the one the run was trained on if left out.
      force: replace the folder if it exists.
    """
    from dienjax.export import export_run

    folder = export_run(run, output, form=form, tables=tables, ids=ids, split=split, store=store, force=force)
    print(f"{folder}: exported\n{(folder / 'parity.txt').read_text(encoding='utf-8')}")


def import_weights(
    weights: Positional[Path],
    source: Literal["deepctr_torch", "torch_rechub"],
    model: Literal["DIN", "DIEN"],
    schema: Path,
    columns: Annotated[tuple[str, ...], arg(metavar="FIELD...")],
    run: Path,
    overrides: Overrides = (),
    tables: Tables = (),
    force: bool = False,
) -> None:
    """Make a run folder of a model trained in deepctr-torch 0.3.0 or torch-rechub 0.9.0: the same probabilities here.

    Ids are taken as they are: tables must have the sizes of the source's, id 0 must be padding there too, and id 1
    counts as unknown here.

    Args:
      weights: file of a state_dict: .safetensors, .npz, or .pt, .pth, .bin (these need torch).
      source: the library.
      model: the model.
      schema: event store, or a schema.json, with the fields and the sizes of the tables.
      columns: every field in the order of the source's feature columns; of torch_rechub the target features, then its
        `features`.
      run: folder for the run.
      overrides: one setting, with the value written as in TOML; may be given again. What weights do not tell is in
        [model], such as model.kind=AUGRU or model.softmax=true; left out, it is the source's default.
      tables: an embedding table that the source calls otherwise, such as item=target_item; may be given again.
      force: replace the run folder if it exists.
    """
    from dienjax.interop.runs import import_run, summary

    print(summary(import_run(run, weights, source, model, schema, columns, overrides, _pairs(tables), force)))


def export_weights(
    run: Positional[Path],
    target: Literal["deepctr_torch", "torch_rechub"],
    columns: Annotated[tuple[str, ...], arg(metavar="FIELD...")],
    output: Path,
    tables: Tables = (),
    force: bool = False,
) -> None:
    """Write a run's weights as a state_dict for deepctr-torch 0.3.0 or torch-rechub 0.9.0: the way back.

    Args:
      run: run folder whose model is one of that library, such as `dienjax import-weights` made.
      target: the library.
      columns: as for import-weights.
      output: file to write: .safetensors, .npz, or .pt, .pth, .bin (these need torch).
      tables: as for import-weights.
      force: replace the output if it exists.
    """
    from dienjax.interop.runs import export_run

    print(f"{output}: {export_run(run, target, columns, output, _pairs(tables), force)} tensors")


COMMANDS = {
    f.__name__.replace("_", "-"): f
    for f in (demo, prepare, inspect, train, evaluate, predict, describe, export, import_weights, export_weights)
}


def _pairs(tables: tuple[str, ...]) -> dict[str, str]:
    """The source's names of tables by ours, from "here=there"."""
    pairs = [text.partition("=") for text in tables]
    if not all(here and there for here, _, there in pairs):
        raise ValueError(f"--table {' '.join(tables)}: expected table=name there, such as item=target_item")
    return {here: there for here, _, there in pairs}


def _dumps(data: dict) -> str:
    return json.dumps(data, allow_nan=False)


def main(argv: list[str] | None = None) -> None:
    """Run the command that the arguments name.

    Exits with 2 and one clear message on a mistake, with 128 + the signal's number if one stopped the command. An error
    that no input may cause is raised.
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="dienjax", description=_description(), args=argv, config=(FlagCreatePairsOff,)
        )
        sys.stdout.flush()
    except BrokenPipeError:  # of `dienjax inspect ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left must not fail once more at exit
        sys.exit(128 + signal.SIGPIPE)
    except KeyboardInterrupt:
        _stop(argv, "stopped by SIGINT", 128 + signal.SIGINT)
    except (ValueError, TypeError, OSError, ImportError, ArithmeticError, RuntimeError, MemoryError) as error:
        from dienjax.errors import Interrupted

        text = str(error) or type(error).__name__
        if isinstance(error, ModuleNotFoundError) and error.name:  # of a core dependency: an extra's has its own text
            text = f"{error.name} is not installed; `pip install dienjax` adds all that is missing"
        if isinstance(error, MemoryError) or text.startswith("RESOURCE_EXHAUSTED"):
            line = text.partition("\n")[0].rstrip(".")
            text = f"out of memory: {line}; try a smaller data.batch_size, data.max_len or model, or another machine"
        _stop(argv, text, 128 + error.number if isinstance(error, Interrupted) else 2)


def _stop(argv: list[str], text: str, code: int) -> NoReturn:
    print(f"dienjax {' '.join(argv[:1])}: {text}", file=sys.stderr, flush=True)
    if "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized():
        os._exit(code)  # an orderly end would wait for processes that wait for this one
    sys.exit(code)


def _description() -> str:
    return "DIN and DIEN click-through-rate models in JAX/Flax, from a log to a served model. --version shows which."
