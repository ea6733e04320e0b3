"""The visible progress of a run: the progress bar, metrics.jsonl, TensorBoard files."""

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dienjax.storage.files import write_text
from dienjax.training.metrics import to_json

BAR = "{desc} {percentage:3.0f}%|{bar:16}| {n}/{total} "


def say(text: str) -> None:
    """Print a line on stderr, above the progress bar if there is one."""
    tqdm.write(text, file=sys.stderr)


class Record:
    """A run's measurements as JSON lines (and in TensorBoard on request), the latest also in the progress bar.

    With `write` off it keeps none, for all but one of several processes.
    """

    def __init__(
        self, run: Path, total: int, done: int, show: bool, tensorboard: bool, title: str, write: bool = True
    ) -> None:
        self.path = run / "metrics.jsonl" if write else Path(os.devnull)
        self._forget_after(done)
        self.lines = read_metrics(self.path) if self.path.is_file() else []
        before = self.lines[-1] if self.lines else {}  # a resumed run goes on counting
        self.since = time.perf_counter() - before.get("seconds", 0)
        self.peak = before.get("peak_memory_bytes", 0)
        self.file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 - closed by __exit__
        terminal = sys.stderr.isatty()
        self.bar = tqdm(
            total=total, initial=done, desc=title, unit="step", dynamic_ncols=True, disable=not show, leave=True,
            mininterval=0.2 if terminal else 10, bar_format=BAR + "[{elapsed}<{remaining}{postfix}]",
        )  # fmt: skip
        self.shown: dict[str, str] = {}
        self.board = import_tensorboard().SummaryWriter(str(run / "tensorboard")) if tensorboard and write else None

    def _forget_after(self, step: int) -> None:
        """Drops the lines that a killed run wrote after its last checkpoint."""
        if self.path.is_file():
            kept = [line for line in read_metrics(self.path) if line["step"] <= step]
            write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))

    def __enter__(self) -> "Record":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        self.file.close()
        if self.board is not None:
            self.board.close()

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Show what is being done in place of the time left, whose estimate then leaves out the time that it took."""
        if self.bar.disable:
            yield
            return
        usual, self.bar.bar_format = self.bar.bar_format, BAR + f"[{{elapsed}}, {what}]"
        self.bar.refresh()
        try:
            yield
        finally:
            self.bar.bar_format = usual
            # The estimate goes by the steps and the seconds since these.
            self.bar.last_print_n, self.bar.last_print_t = self.bar.n, time.time()

    def write(self, kind: str, step: int, epoch: int, values: dict[str, float]) -> None:
        """Add a line of `kind` "train" or "valid", with what the run took so far; an undefined value is null in it.

        `seconds` counts all that the run took but what lies between a stop and its resumption; `peak_memory_bytes` is
        the most that the process on the host had at once, whatever else it did before.
        """
        self.peak = max(self.peak, peak_memory())
        taken = {"seconds": round(time.perf_counter() - self.since, 3), "peak_memory_bytes": self.peak}
        line: dict[str, Any] = {"kind": kind, "step": step, "epoch": epoch, **to_json(values), **taken}
        self.lines.append(line)
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(f"{kind}/{name}", value, step)
        self._show(kind, values)

    def _show(self, kind: str, values: dict[str, float]) -> None:
        for name in ("loss", "auc", "rmse", "rows_per_second"):
            if name in values and (kind == "train" or name in ("auc", "rmse")):
                label = "rows/s" if name == "rows_per_second" else name if kind == "train" else f"{kind} {name}"
                self.shown[label] = f"{values[name]:,.0f}" if label == "rows/s" else f"{values[name]:.4f}"
        self.bar.set_postfix(self.shown, refresh=False)


def peak_memory() -> int:
    """The most bytes of memory that this process has had at once."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a JSON-lines file, without a broken last one, as a killed run leaves it.

    Raises:
      ValueError: a broken line before the last, or one that is not a JSON object.
    """
    lines = [(n, text) for n, text in enumerate(Path(path).read_bytes().splitlines(), 1) if text.strip()]
    found = []
    for n, text in lines:
        try:
            line = json.loads(text)
            if not isinstance(line, dict):
                raise ValueError(f"got a {type(line).__name__}")
        except ValueError as error:
            if n == lines[-1][0]:
                break
            raise ValueError(
                f"{path}, line {n}: {error}; expected one JSON object per line: remove this line"
            ) from error
        found.append(line)
    return found


def import_tensorboard() -> Any:
    """The module that writes TensorBoard files; without it, ModuleNotFoundError says what to install."""
    try:
        import tensorboardX
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "fit.tensorboard is on, but tensorboardX is not installed: pip install 'dienjax[tensorboard]', "
            "or set fit.tensorboard=false"
        ) from error
    return tensorboardX
