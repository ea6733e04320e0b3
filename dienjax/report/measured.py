"""Everything that a page measures of one run, or of several on the same candidates, as its sections."""

from collections.abc import Sequence

from dienjax.report.about import about_config, about_model, about_store, about_versions, cost
from dienjax.report.bootstrap import REPLICATES, Bootstrap
from dienjax.report.distribution import distribution
from dienjax.report.groups import groups
from dienjax.report.headline import beside_baselines, headline, sample_runs
from dienjax.report.learning import learning
from dienjax.report.mistakes import mistakes
from dienjax.report.naming import Names
from dienjax.report.ranking import ranking
from dienjax.report.reliability import reliability
from dienjax.report.scored import Scored, named
from dienjax.report.section import Section
from dienjax.report.slices import slices
from dienjax.report.truth import Truth


def sections(
    scored: Sequence[Scored],
    names: Names,
    seed: int = 0,
    truth: Truth | None = None,
    replicates: int = REPLICATES,
) -> list[Section]:
    """The sections about what is measured, in their order; all intervals are of the same draws of users.

    Args:
      seed: of the bootstrap.
      truth: the world that generated the store's log, if one did.

    Raises:
      ValueError: runs that have not scored the same candidates, see `named`.
      ModuleNotFoundError: Altair is not installed.
    """
    runs = named(scored)
    binary, bootstrap = scored[0].task == "binary", Bootstrap.of(scored[0].user_M, replicates, seed)
    found = sample_runs(runs, bootstrap)
    return [
        headline(runs, bootstrap, found),
        *([beside_baselines(runs, bootstrap, found, truth)] if binary else []),
        learning(runs),
        *([ranking(runs)] if binary else []),
        reliability(runs, bootstrap),
        distribution(runs),
        groups(runs, bootstrap),
        slices(runs, bootstrap, names),
        mistakes(runs, names),
        cost(runs),
        about_store(scored[0].store, names),
        about_config(runs),
        about_model(runs),
        about_versions(runs),
    ]
