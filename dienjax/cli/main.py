"""Runs the command that the arguments name; a mistake is one clear message, a signal its exit code."""

import os
import signal
import sys
from typing import NoReturn

import tyro
from tyro.conf import FlagCreatePairsOff

from dienjax.cli.data import inspect, prepare
from dienjax.cli.exchange import export, export_weights, import_weights
from dienjax.cli.models import demo, describe, evaluate, predict, report, train

COMMANDS = {
    f.__name__.replace("_", "-"): f
    for f in (
        demo,
        prepare,
        inspect,
        train,
        evaluate,
        report,
        predict,
        describe,
        export,
        import_weights,
        export_weights,
    )
}


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
