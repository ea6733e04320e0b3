"""The runs that a page is about: opened, named, and held against each other only where that means something."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from dienjax.training.run import Run, is_run


def open_runs(paths: Iterable[str | Path]) -> list[Run]:
    """The runs in some folders; a folder of the runs of several seeds, as `dienjax.fit_seeds` leaves it, is its runs.

    Raises:
      FileNotFoundError: a folder that is neither.
      ValueError: no folder, or a run that is named twice.
    """
    runs: dict[Path, Run] = {}
    for path in map(Path, paths):
        seeds = [] if is_run(path) else sorted(filter(is_run, path.glob("seed*")), key=lambda p: (len(p.name), p.name))
        for folder in seeds or [path]:
            if folder.resolve() in runs:
                raise ValueError(f"{folder} is named twice; expected different runs")
            runs[folder.resolve()] = Run.open(folder)
    if not runs:
        raise ValueError("no run is named; expected at least one run folder")
    return list(runs.values())


def run_names(paths: Sequence[Path]) -> list[str]:
    """The names of folders, with as many of the folders around them as tell all of them apart."""
    parts = [path.absolute().parts for path in paths]
    names = ["/".join(p[-1:]) for p in parts]
    for depth in range(2, max(map(len, parts), default=0) + 1):
        if len({*names}) == len(names):
            break
        names = ["/".join(p[-depth:]) for p in parts]
    return names
