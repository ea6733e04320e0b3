"""The candidates of one user in onnxruntime, beside JAX and the libraries."""

import itertools
import statistics
from pathlib import Path
from typing import Any

from experiments.benchmark import candidates, measure, report
from experiments.benchmark.goals import Goal, checked
from experiments.benchmark.serving_model import SERVING, arrays, by_jax, compare, through
from experiments.benchmark.setting import LIBRARIES, T

HERE, CANDIDATES = "experiments.benchmark.serving_scoring", "experiments.benchmark.candidates"
HISTORIES = ("T = 50", "of the store")
THREADS = (1, 2)
GRAPHS = {"scorer": SERVING[1:], "encoder + scorer": SERVING, "ranker": ("ranker.onnx",)}
"""What is timed, by its name; the scorer gets an encoded user."""
TIMED = [(what, threads) for what in GRAPHS for threads in THREADS if threads == 1 or what != "ranker"]
"""Each with its numbers of threads per call; the ranker has one."""

COLUMNS = {
    "histories": "histories",
    "K": "K",
    "what": "what",
    "ms": "a user, ms",
    **{f"over_{library}": f"times faster than {library}" for library in LIBRARIES},
}

GOALS = tuple(
    Goal({"what": f"scorer, {threads} a call", "histories": histories, "K": 200}, f"over_{library}", times, least=True)
    for threads in THREADS
    for histories, bounds in zip(HISTORIES, ((8, 3), (20, 8)), strict=True)
    for library, times in zip(LIBRARIES, bounds, strict=True)
)


def table(
    path: Path, facts: dict[str, Any], run: str, folder: str, store: str, K: tuple[int, ...], users: int, rounds: int,
    seconds: float, seed: int,
) -> None:  # fmt: skip
    """Publish as `path` the milliseconds per user of every graph, of JAX and of the libraries, which take turns.

    Args:
      run: run folder, exported to `folder`.
      store: the store from whose test split histories are drawn.
    """
    left_out = measure.left_out(LIBRARIES)
    drawn = {"store": store, "users": users, "seed": seed}
    asked = {"histories": measure.in_child(f"{CANDIDATES}:drawn_histories", **drawn).answer, "K": K, "seed": seed}
    given, want = asked | {"seconds": seconds}, f"{folder}_expected.npz"
    measure.in_child(f"{HERE}:write_expected", out=want, run=run, **asked)
    cases = {
        f"{what}, {threads} a call": (
            f"{HERE}:onnx", given | {"folder": folder, "want": want, "what": what, "threads": threads}
        )
        for what, threads in TIMED
    }  # fmt: skip
    cases["JAX"] = (f"{CANDIDATES}:ours", given)
    for library in LIBRARIES:
        if library not in left_out:
            cases[library] = (f"{CANDIDATES}:theirs", given | {"library": library})
    measured = measure.in_turn(cases, rounds)
    rows = []
    for at, (histories, count) in enumerate(itertools.product(HISTORIES, K)):
        ms = {what: statistics.median(cost.answer[at] for cost in costs) for what, costs in measured.items()}
        rows += compared(histories, count, ms)
    panels = [
        report.Panel(
            f"histories: {name}; a user, ms", report.lines([r for r in rows if r["histories"] == name], "K", "ms")
        )
        for name in HISTORIES
    ]
    facts = facts | {"drawn": asked["histories"]}
    figure = report.Figure("Scoring the candidates of a user", "K", panels)
    report.publish(path, facts, rows, COLUMNS, checked(GOALS, rows, COLUMNS), left_out.values(), figure)


def compared(histories: str, K: int, ms: dict[str, float]) -> list[dict[str, Any]]:
    """A row for each name of `ms`; ours say how many times faster than the libraries they are."""
    rows = []
    for what in ms:
        row = {"histories": histories, "K": K, "what": what, "ms": round(ms[what], 3)}
        others = [library for library in LIBRARIES if library in ms and what not in LIBRARIES]
        rows.append(row | {f"over_{library}": round(ms[library] / ms[what], 1) for library in others})
    return rows


def onnx(
    histories: list[tuple[int, int]], K: list[int], seconds: float, seed: int, folder: str, want: str, what: str,
    threads: int,
) -> list[float]:  # fmt: skip
    """As `candidates.ours`, for the graphs `what`; each answer must be what `write_expected` wrote to `want`."""
    import numpy as np

    call, encode = through(folder, GRAPHS[what], threads), through(folder, SERVING[:1], threads)
    cases = [[arrays(columns) for columns in case] for case in _cases(histories, K, seed)]
    cases = [[encode(given) if what == "scorer" else given for given in case] for case in cases]
    with np.load(want) as expected:
        for at, case in enumerate(cases):
            got_NK = np.concatenate([call(given)["probability"] for given in case])
            compare(f"{what}, {len(case)} users, K = {got_NK.shape[1]}", got_NK, expected[str(at)])

    def median_ms(case: list[dict[str, Any]]) -> float:
        return measure.median_ms(lambda: [call(given) for given in case], seconds, 3) / len(case)

    return [median_ms(case) for case in cases]


def write_expected(out: str, run: str, histories: list[tuple[int, int]], K: list[int], seed: int) -> None:
    """Write JAX's probabilities [N, K] of the N users of each case, in order, to `out`."""
    import numpy as np

    ask = by_jax(run)
    cases = [np.concatenate([ask(columns) for columns in case]) for case in _cases(histories, K, seed)]
    np.savez(out, **{str(at): probability_NK for at, probability_NK in enumerate(cases)})


def _cases(histories: list[tuple[int, int]], K: list[int], seed: int) -> list[list[dict[str, Any]]]:
    """The columns of each user, in the order of the rows; 50 slots, as the libraries get them."""
    padded = [(length, T) for length, _ in histories]
    return [candidates.requests(of, k, seed) for of in ([(T, T)], padded) for k in K]
