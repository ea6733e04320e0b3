"""The export of a run in a process of its own; the folder appears under its name only if it is complete and correct.

jax2onnx leaves jitted functions that it has traced unusable. The process runs on the CPU: an accelerator may be in use,
and rounds float32 products where onnxruntime does not.
"""

import importlib.util
import json
import os
import subprocess
import sys
import threading
import traceback
from collections import deque
from dataclasses import asdict
from pathlib import Path

import jax

from dienjax.data.store import Store
from dienjax.export.folder import STATUS_PREFIX, Form, Options, write_folder
from dienjax.export.graphs import Ids
from dienjax.export.quantised import Precision
from dienjax.serving.folder import is_export
from dienjax.storage.folders import Purpose, new_folder
from dienjax.training.run import Run

PURPOSE = Purpose("an export", is_export)

PROGRAM = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("dienjax", sys.argv[1] + "/__init__.py")
sys.modules["dienjax"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["dienjax"])
from dienjax.export.own_process import _end_with_parent, _main
_end_with_parent()
_main()
"""
"""Imports this very package, wherever it is, and with -P no other module from the current folder."""

ERROR_PREFIX = "failed: "
"""The start of the line in which the process reports its error."""


def export_run(
    run: Run | str | Path,
    output: str | Path,
    *,
    form: Form = "onnx",
    tables: Precision = "float32",
    ids: Ids = "int64",
    split: str = "",
    store: Store | str | Path | None = None,
    force: bool = False,
) -> Path:
    """Export the run's chosen checkpoint to the folder `output`, which `dienjax.serving.Ranker` reads ("onnx").

    A run with `model.dtype = "bfloat16"` is exported, and compared with JAX, as the network in float32.

    Args:
      run: the run, or its folder.
      output: the folder to write.
      form: "onnx" for onnxruntime, or "stablehlo" for XLA.
      tables: the precision of the embedding tables.
      ids: dtype of the ONNX graphs' ids; those of StableHLO programs are int32.
      split: a split of the store, on whose samples the ONNX graph is also compared with JAX.
      store: the store of that split; by default the one that the run was trained on.
      force: replace the folder if it exists.

    Raises:
      ImportError: the extra "onnx" is not installed, or JAX is one that jax2onnx cannot read.
      FileExistsError: `output` exists, and `force` is False.
      ValueError: an argument with an unknown value.
      RuntimeError: the export failed, or does not compute what JAX does; nothing is written.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    path = store.path if isinstance(store, Store) else store
    options = Options(form, tables, ids, split, str(Path(path).absolute()) if path else "")
    for name in ("jax2onnx", "onnx", "onnxruntime") if form == "onnx" else ():
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"export_run needs {name}, which is not installed: pip install 'dienjax[onnx]'")
    if form == "onnx" and jax.__version_info__ >= (0, 12):  # as in pyproject.toml
        raise ImportError(f"ONNX export needs jax below 0.12, got {jax.__version__}: pip install 'jax<0.12'")
    used = [run.path, *([Path(options.store)] if options.store else [])]
    with new_folder(output, force, PURPOSE, used) as folder:
        _write_apart(run.path, folder, options)
    return Path(output)


def _write_apart(run: Path, folder: Path, options: Options) -> None:
    """Calls `write_folder` in a process of its own and shows its messages."""
    call = json.dumps({"run": str(run.absolute()), "folder": str(folder), "options": asdict(options)})
    command = [sys.executable, "-P", "-c", PROGRAM, str(Path(__file__).parents[1]), call]
    last: deque[str] = deque(maxlen=60)
    why = ""
    with subprocess.Popen(
        command, env={**os.environ, "JAX_PLATFORMS": "cpu"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace",
    ) as process:  # fmt: skip
        try:
            for line in process.stdout or ():
                last.append(line)
                if line.startswith(ERROR_PREFIX):
                    why = json.loads(line.removeprefix(ERROR_PREFIX))
                if line.startswith(STATUS_PREFIX):
                    print(line, end="", file=sys.stderr, flush=True)
        except BaseException:
            process.kill()
            raise
    if process.returncode == 0:
        return
    if not why:
        tail = "".join([*last][-8:])
        why = f"its process ended with code {process.returncode} (-9: out of memory?):\n{tail}"
    error = RuntimeError(f"exporting {run} failed: {why}")
    error.add_note("".join(last)[-4000:])
    raise error


def _main() -> None:
    call = json.loads(sys.argv[2])
    folder = Path(call["folder"])
    try:
        write_folder(Run.open(call["run"]), folder, Options(**call["options"]))
    except Exception as error:
        traceback.print_exc()
        why = json.dumps(f"{type(error).__name__}: {error}")
        print(ERROR_PREFIX + why, flush=True)  # not in a file: the disk may be full
        sys.exit(1)


def _end_with_parent() -> None:
    """Ends this process when the one that started it, and with it the other end of stdin, is gone."""

    def wait() -> None:
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
