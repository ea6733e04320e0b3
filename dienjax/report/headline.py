"""What runs are worth: their metrics, how they differ, and how far they are above rankings that need no learning."""

from collections.abc import Mapping

from dienjax.report.baselines import baselines
from dienjax.report.bootstrap import Bootstrap, Sampled
from dienjax.report.charts import Axis, Values, intervals
from dienjax.report.measures import COMPARED, MEASURES, OF_GROUPS, TITLES
from dienjax.report.scored import Scored
from dienjax.report.section import Block, Cell, Chart, Interval, Section, Table
from dienjax.report.side_by_side import table
from dienjax.report.truth import Truth, best_ranking

Found = dict[tuple[str, str], Sampled]
"""By the name of a run or of a baseline, and by measure."""


def sample_runs(runs: Mapping[str, Scored], bootstrap: Bootstrap) -> Found:
    """Every measure of every run."""
    statistics = {
        (name, m): measure(one.logit_M, one.label_M, bootstrap.user_M)
        for name, one in runs.items()
        for m, measure in MEASURES[one.task].items()
    }
    return bootstrap.sampled(statistics)


def headline(runs: Mapping[str, Scored], bootstrap: Bootstrap, found: Found) -> Section:
    """The metrics as `dienjax.evaluate` gives them, and each run's paired difference to the first, with intervals."""
    first_name, *others = runs
    first = runs[first_name]
    metrics = {
        name: {m: _exact(found[name, m], one.metrics[m]) for m in MEASURES[first.task]} for name, one in runs.items()
    }
    counts = {name: int(n) for name, n in first.metrics.items() if name in ("rows", "positives")}
    counts["users"] = bootstrap.users
    rows: list[list[Cell]] = [[name, *of_run.values(), *counts.values()] for name, of_run in metrics.items()]
    titles = [TITLES[m] for m in MEASURES[first.task]]
    blocks = [Table(f"Metrics on the split {first.split}", ["run", *titles, *counts], rows)]
    to_first = {
        name: {m: (found[name, m] - found[first_name, m]).interval() for m in COMPARED[first.task]} for name in others
    }
    if to_first:
        titles = [TITLES[m] for m in COMPARED[first.task]]
        rows = [[name, *of_run.values()] for name, of_run in to_first.items()]
        blocks.append(Table(f"Difference to {first_name}", ["run", *titles], rows))
    text = (
        f"Intervals hold 95 %, by a bootstrap over the users of the split ({bootstrap.replicates} replicates). A "
        "difference is taken within each replicate, so that only what differs counts: one whose interval leaves out 0 "
        "is hardly chance."
    )
    numbers = {"split": first.split, "replicates": bootstrap.replicates, **counts, "runs": metrics}
    return Section("headline", "Results", text, blocks, numbers | {"differences_to_first": to_first})


def beside_baselines(
    runs: Mapping[str, Scored], bootstrap: Bootstrap, found: Found, truth: Truth | None = None
) -> Section:
    """AUC and GAUC of rankings that need no learning, and the paired difference of each run to each of them.

    The histories are those that the first run sees. With the truth the best possible ranking is among them.
    """
    first, measures = next(iter(runs.values())), OF_GROUPS["binary"]
    rankings = baselines(first) | (best_ranking(truth, first) if truth else {})
    statistics = {
        (name, m): MEASURES["binary"][m](score_M, first.label_M, bootstrap.user_M)
        for name, score_M in rankings.items()
        for m in measures
    }
    of_baselines = bootstrap.sampled(statistics)
    known = {name: {m: of_baselines[name, m].interval() for m in measures} for name in rankings}
    above = {
        name: {other: {m: (found[name, m] - of_baselines[other, m]).interval() for m in measures} for other in known}
        for name in runs
    }
    of_runs = {name: {m: found[name, m].interval() for m in measures} for name in runs}
    values: Values = [
        {"run": "", "series": TITLES[m], "ranking": name, **interval._asdict()}
        for name, of_one in (of_runs | known).items()
        for m, interval in of_one.items()
    ]
    blocks: list[Block] = [
        Chart(
            "baselines",
            "Beside rankings that need no learning",
            intervals(values, Axis("ranking", ""), Axis("value", "AUC and GAUC"), [""]),
            "AUC and GAUC with intervals, of each run and of each ranking that needs no learning",
        ),
        Table("Ranked without learning", ["ranked by", "AUC", "GAUC"], [[n, *k.values()] for n, k in known.items()]),
        table(
            "How far above them the run is",
            ["ranked by", "AUC", "GAUC"],
            [[name, other, *d.values()] for name, of_run in above.items() for other, d in of_run.items()],
            [*runs],
        ),
    ]
    text = (
        "A model has to surpass what anyone can count: how often training saw the item of a candidate, and how much of "
        "the history that the model sees has the candidate's value. Where negatives were drawn by popularity, it "
        "tells them from positives no better than chance, or worse."
        + (" The true interests rank better than any model can be expected to." if truth else "")
    )
    return Section("baselines", "Baselines", text, blocks, {"baselines": known, "runs_above": above})


def _exact(sampled: Sampled, value: float) -> Interval:
    """The interval with the value as `evaluate` gives it, to the bit."""
    interval = sampled.interval()
    return interval if interval.value is None else interval._replace(value=value)
