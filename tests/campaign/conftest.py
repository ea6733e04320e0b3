"""What the cases of the campaign start from; `campaign_table` has the options and the table at the end.

`python -m pytest -m campaign` tries all of it, in about a quarter of an hour on two cores; `--campaign-share 0.05` a
twentieth of every kind, `--campaign-seed 7` other choices, `--campaign-table table.md` keeps the table.
"""

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import campaign
import pytest

FOLDER = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker("campaign")


@pytest.fixture
def draw(request):
    """`draw(case)` is the random generator of a case: a function of the seed, the test and the name."""
    seed = request.config.getoption("campaign_seed")
    return lambda case="": campaign.rng(seed, f"{request.node.name} {case}")


@pytest.fixture
def many(request):
    """`many(n)` is how many tries of n are made: the share that was asked for, at least one."""
    share = request.config.getoption("campaign_share")
    return lambda n: max(1, round(n * share))


@pytest.fixture
def counted(record_property):
    """`with counted(kind) as tally:` counts what the cases come to, for the table, and fails if one is bad."""

    @contextmanager
    def count(kind):
        tally = campaign.Tally(kind)
        try:
            yield tally
        finally:
            record_property("campaign", [kind, dict(tally.counts)])
        tally.fail_if_bad()

    return count


@dataclass(frozen=True)
class Whole:
    """What nobody has touched: a log, its store, a run on that, and its export. Copied, never changed."""

    folder: Path

    @property
    def log(self):
        return self.folder / "log.csv"

    @property
    def config(self):
        return self.folder / "config.toml"

    @property
    def store(self):
        return self.folder / "store"

    @property
    def run(self):
        return self.folder / "run"

    @property
    def export(self):
        return self.folder / "export"

    @property
    def rows(self):
        return self.folder / "rows.parquet"


@pytest.fixture(scope="session")
def log_only(request, tmp_path_factory):
    """The log and the config."""
    whole = Whole(tmp_path_factory.mktemp("whole"))
    frame = campaign.make_log(campaign.rng(request.config.getoption("campaign_seed"), "the log"))
    frame.to_csv(whole.log, index=False)
    whole.config.write_text(campaign.CONFIG)
    return whole


def _made(whole, *argv):
    ended = campaign.start(whole.folder, campaign.command, *argv).end()
    assert ended.code == 0, ended


@pytest.fixture(scope="session")
def with_store(log_only):
    """The store too."""
    _made(log_only, *campaign.prepare_argv(log_only.log, log_only.store))
    return log_only


@pytest.fixture(scope="session")
def with_run(with_store):
    """And a finished run, with rows to predict."""
    import pandas as pd

    whole = with_store
    _made(whole, "train", whole.config, "--store", whole.store, "--run", whole.run, "--quiet")
    row = {"hist_item": [1, 2, 3], "hist_category": ["c1", "c2", "c3"], "item": [4, 5], "category": ["c4", "c0"]}
    pd.DataFrame([row | {"city": "Ulm"}] * 40).to_parquet(whole.rows)
    return whole


@pytest.fixture(scope="session")
def with_export(request, with_run):
    """And its export, which takes long: not for a small share."""
    pytest.importorskip("jax2onnx")
    if request.config.getoption("campaign_share") < 0.1:
        pytest.skip("what needs an export is tried with --campaign-share 0.1 or more")
    _made(with_run, "export", with_run.run, "--output", with_run.export)
    return with_run
