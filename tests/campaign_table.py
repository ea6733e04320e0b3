"""The options of the campaign (tests/campaign), and the table of counts that it ends with."""

from collections import Counter
from pathlib import Path

OUTCOMES = ("accepted rightly", "refused cleanly", "wrong accepted", "tracebacks", "half-written", "outside the target")
COUNTS: dict[str, Counter] = {}
"""Of each kind of case, what its tries came to; with pytest-xdist the process that prints has those of all workers."""


def pytest_addoption(parser):
    group = parser.getgroup("campaign")
    group.addoption("--campaign-seed", type=int, default=0, help="decides every random choice (default: 0)")
    group.addoption("--campaign-share", type=float, default=1.0, help="how much of each kind is tried (default: 1)")
    group.addoption("--campaign-table", type=Path, help="Markdown file for the table of counts")


def pytest_runtest_logreport(report):
    for name, value in report.user_properties if report.when == "call" else ():
        if name == "campaign":
            kind, counts = value
            COUNTS.setdefault(kind, Counter()).update(counts)


def pytest_terminal_summary(terminalreporter, config):
    if not COUNTS:
        return
    rows = [[kind, *_numbers(counts)] for kind, counts in sorted(COUNTS.items())]
    rows.append(["all", *_numbers(sum(COUNTS.values(), Counter()))])
    table = ["| kind of case | tries | " + " | ".join(OUTCOMES) + " |", "|---|" + "---|" * (1 + len(OUTCOMES))]
    table += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    terminalreporter.section(f"campaign, seed {config.option.campaign_seed}, share {config.option.campaign_share:g}")
    terminalreporter.write_line("\n".join(table))
    if config.option.campaign_table:
        config.option.campaign_table.write_text("\n".join(table) + "\n", encoding="utf-8")


def _numbers(counts):
    return [sum(counts.values()), *(counts[outcome] for outcome in OUTCOMES)]
