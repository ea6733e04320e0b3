"""The command line: each command is a function, its arguments are the function's, its help is the docstring."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

Overrides = Annotated[UseAppendAction[tuple[str, ...]], arg(name="set", metavar="SECTION.KEY=VALUE")]


def demo(out: Path = Path("runs/demo"), epochs: int = 4, seed: int = 0, force: bool = False) -> None:
    """Train DIN and DIEN on a generated world of drifting interests, beside the best AUC that is possible there.

    Args:
      out: folder for the data set and the two runs.
      epochs: passes over the training events.
      seed: of the world and of the training.
      force: replace the folder if it exists.
    """
    from dienjax.data.drift import DriftWorld
    from dienjax.demo import demo as run_demo

    _keep_compilations()
    results = run_demo(out, DriftWorld(seed=seed), epochs, force)
    for name, auc in results.items():
        print(f"test AUC  {name:<8} {auc:.4f}")
    print(f"look at {out}/dien/curves.png; `dienjax describe {out}/dien` shows the model")


def train(
    config: Positional[Path],
    store: Path,
    run: Path,
    overrides: Overrides = (),
    resume: bool = False,
    force: bool = False,
    quiet: bool = False,
) -> None:
    """Train a model on an event store and leave a run folder.

    Args:
      config: TOML file, such as those in experiments/.
      store: event store, as data_prep writes it.
      run: folder for the checkpoints, the metrics and the curves.
      overrides: one changed setting, with the value written as in TOML; may be given again.
      resume: go on where a stopped run was; starts it if there is none.
      force: replace the run folder if it exists.
      quiet: no progress bar.
    """
    from dienjax.config import Config
    from dienjax.data.store import Store
    from dienjax.fitting import fit_store

    _keep_compilations()
    settings = Config.load(config, overrides)
    fit_store(settings, Store.open(store), run, resume=resume, force=force, progress=not quiet)
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
    from dienjax.evaluation import evaluate as measure
    from dienjax.metrics import to_json
    from dienjax.run import Run

    _keep_compilations()
    opened = Run.open(run)
    metrics = to_json(measure(opened, Store.open(store) if store else opened.store(), split))
    if json:
        print(_dumps({"run": str(run), "split": split, **metrics}))
        return
    for name, value in metrics.items():
        print(f"{name:<12} {'undefined' if value is None else f'{value:.6g}'}")


def predict(run: Positional[Path], input: Path, output: Path, force: bool = False) -> None:
    """Add the model's probability to a Parquet file of histories and candidates.

    For each behaviour b of the run, such as the item, the file has a list column hist_b (oldest first) and a column b
    with the candidate or a list of candidates; user features by their name. Values stand as in the log.

    Args:
      run: run folder.
      input: Parquet file to read.
      output: Parquet file to write.
      force: replace the output if it exists.
    """
    from dienjax.prediction import predict_file

    _keep_compilations()
    print(f"{output}: {predict_file(run, input, output, force):,} rows")


def describe(target: Positional[Path], store: Path | None = None, svg: Path | None = None) -> None:
    """Show a model as a table of modules, shapes and parameter counts, and as a diagram of its data flow.

    Args:
      target: run folder, or a TOML config (then the schema comes from --store, or is an example).
      store: event store whose schema a config is described with.
      svg: where the diagram goes; default: model.svg in the run folder, or the config's name with .svg here.
    """
    from dienjax.describe import describe_file

    print(describe_file(target, store, svg))


def export(run: Positional[Path], output: Path, force: bool = False) -> None:
    """Export a run's best checkpoint to ONNX, checked against JAX before anything is written.

    Args:
      run: run folder.
      output: folder for ranker.onnx.
      force: replace the folder if it exists.
    """
    from dienjax.export import export_onnx
    from dienjax.run import Run

    print(f"{export_onnx(Run.open(run), output, force=force)}\n{(output / 'parity.txt').read_text()}")


COMMANDS = {f.__name__: f for f in (demo, train, evaluate, predict, describe, export)}


def _dumps(data: dict) -> str:
    return json.dumps(data, allow_nan=False)


def _keep_compilations() -> None:
    """Lets a second run start at once: XLA's programs are kept in the user's cache folder."""
    import jax

    if not jax.config.values["jax_compilation_cache_dir"]:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(cache / "dienjax" / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def main(argv: list[str] | None = None) -> None:
    """Runs the command that the arguments name.

    Exits with 2 and one clear message on a mistake, with 128 + the signal's number if one stopped the training.
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="dienjax", description=_description(), args=argv, config=(FlagCreatePairsOff,)
        )
    except Exception as error:
        from dienjax.fitting import Interrupted

        if not isinstance(error, (ValueError, TypeError, OSError, ImportError, ArithmeticError, RuntimeError)):
            raise
        print(f"dienjax {' '.join(argv[:1])}: {error}", file=sys.stderr)
        sys.exit(128 + error.number if isinstance(error, Interrupted) else 2)


def _description() -> str:
    return "DIN and DIEN click-through-rate models in JAX/Flax, from a log to a served model."
