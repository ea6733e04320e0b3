"""A report on runs: scored, measured, followed through histories, and written as one HTML file."""

from collections.abc import Sequence
from pathlib import Path

from dienjax.data.store import Store
from dienjax.report.explorer import explorer
from dienjax.report.measured import sections as measured
from dienjax.report.naming import Names
from dienjax.report.needed import NEEDED, needed
from dienjax.report.page import render
from dienjax.report.runs import open_runs, run_names
from dienjax.report.scored import scored
from dienjax.report.section import Section
from dienjax.report.truth import Truth
from dienjax.storage.files import write_text
from dienjax.training.progress import say
from dienjax.training.run import Run


def write_report(
    runs: Sequence[str | Path],
    output: str | Path,
    split: str = "test",
    store: str | Path | Store | None = None,
    users: Sequence[str] | None = None,
    anonymous: bool = False,
    seed: int = 0,
    truth: Truth | None = None,
    progress: bool = True,
) -> Path:
    """Write what one run, or several side by side, are worth and how they see single users, as one HTML file.

    The file needs no network and no other file. Its element with the id "numbers" holds all numbers as JSON.

    Args:
      runs: run folders, or folders of several seeds.
      output: the HTML file; one that exists is replaced.
      split: one of the store's splits.
      store: the one the first run was trained on if left out.
      users: raw ids, as text, of the users whose histories are followed; a sample of about 50 if left out.
      anonymous: have ids in place of the raw values of the log.
      seed: of the bootstrap and of the sample of users.
      truth: the generated world that the store's log is from: its true interests are drawn as well, and the page has
        the ranking by them, which is the best possible one.
      progress: say on stderr what is being done.

    Returns:
      The path of the file.

    Raises:
      FileNotFoundError: no such run or store, or no folder for the file.
      ValueError: runs that cannot be compared, a store that does not fit, no such split, a user without sample in it.
      ModuleNotFoundError: a package of the extra "report" is not installed.
    """
    needed(*NEEDED)
    output, tell = Path(output), say if progress else _silent
    opened = open_runs(runs)
    if not output.parent.is_dir() or output.is_dir():
        raise FileNotFoundError(f"report {str(output)!r}: expected the name of a file in a folder that is there")
    if not isinstance(store, Store):
        store = opened[0].store() if store is None else Store.open(store)
    scores = []
    for run in opened:
        tell(f"{run.path}: scoring the split {split}")
        scores.append(scored(run, store, split))
    names = Names(store, anonymous)
    tell("following the histories of single users")
    followed = explorer(scores, names, users, seed, truth)
    tell("measuring, with intervals")
    sections = measured(scores, names, seed, truth)
    tell("writing the page")
    write_text(output, render(_title(opened, split, store), _before_folded(sections, followed)))
    return output


def _title(runs: Sequence[Run], split: str, store: Store) -> str:
    named = ", ".join(run_names([run.path for run in runs])) if len(runs) <= 3 else f"{len(runs)} runs"
    return f"{named} on {split} of {store.path.absolute().name}"


def _before_folded(sections: list[Section], one: Section) -> list[Section]:
    """One more section before those that are looked up rather than read."""
    place = next((i for i, section in enumerate(sections) if section.folded), len(sections))
    return [*sections[:place], one, *sections[place:]]


def _silent(_: str) -> None:
    pass
