"""A load test of dienjax.serving.Ranker: raw values from several threads at once, every answer checked."""

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

from experiments.benchmark import measure, report
from experiments.benchmark.serving_model import DEFAULT, SERVING, TOLERANCE, by_jax, compare, text, through
from experiments.benchmark.setting import SIZES, T

HERE = "experiments.benchmark.serving_load"
K, WARM = 100, 100
USERS = {"cold user": 0, "cached user": WARM}
"""How many histories the requests share, each encoded before; 0: every request has a new one."""
THREADS, VALUES, SCORER = (1, 2), "raw values to ids", "candidate scorer"

COLUMNS = {
    "what": "what",
    "threads": "threads a call",
    "default": "Ranker's default",
    "clients": "clients",
    "p50": "p50, ms",
    "p95": "p95, ms",
    "p99": "p99, ms",
    "per_s": "requests/s",
    "times_one": "times those of 1 thread a call",
}


def table(
    path: Path, facts: dict[str, Any], run: str, folder: str, clients: tuple[int, ...], requests: int, rounds: int,
    seed: int,
) -> None:  # fmt: skip
    """Publish as `path` latencies and requests per second against the number of clients, and the parts of a call.

    Args:
      run: run folder, exported to `folder`.
      requests: of each measurement.
    """
    cases = {}
    for what, users in USERS.items():
        asked = f"{folder}_{users}.npz"
        measure.in_child(f"{HERE}:write_requests", out=asked, run=run, requests=requests, users=users, seed=seed)
        for threads, count in itertools.product(THREADS, clients):
            given = {"folder": folder, "asked": asked, "users": users, "threads": threads, "clients": count}
            cases[f"{what}, {threads}, {count}"] = (f"{HERE}:load", given)
    for threads in THREADS:
        cases[f"parts, {threads}, 1"] = (f"{HERE}:parts", {"folder": folder, "asked": asked, "threads": threads})
    rows = []
    for case, costs in measure.in_turn(cases, rounds).items():
        a_call, asking = map(int, case.split(", ")[1:])
        for what in costs[0].answer:
            row = {"what": what, "threads": a_call, "clients": asking}
            row |= {"default": "yes"} if a_call == DEFAULT else {}
            measured = {name: [cost.answer[what][name] for cost in costs] for name in costs[0].answer[what]}
            rows.append(row | {name: round(statistics.median(values), 3) for name, values in measured.items()})
    compared(rows)
    shown = [row | {"what": f"{row['what']}, {row['threads']} a call"} for row in rows if row["what"] in USERS]
    panels = [report.Panel(COLUMNS[y], report.lines(shown, "clients", y)) for y in ("per_s", "p50", "p99")]
    figure = report.Figure(f"Requests of {K} candidates, T = {T}", "clients", panels)
    report.publish(path, facts | {"K": K, "T": T, "requests": requests}, rows, COLUMNS, [], [verdict(rows)], figure)


def compared(rows: list[dict[str, Any]]) -> None:
    """Add to the rows of several threads per call how many times the requests per second of one thread they have."""
    one = {(row["what"], row["clients"]): row["per_s"] for row in rows if row["threads"] == 1}
    for row in rows:
        if row["threads"] > 1:
            row["times_one"] = round(row["per_s"] / one[row["what"], row["clients"]], 2)


def verdict(rows: list[dict[str, Any]]) -> str:
    """What the rows say about Ranker's default."""
    gains = [row["times_one"] for row in rows if row["what"] in USERS and "times_one" in row]
    more = sum(gain > 1 for gain in gains)
    return (
        f"with 2 threads a call {more} of {len(gains)} cases have more requests/s than with 1, at the median "
        f"{statistics.median(gains):.2f} times as many; Ranker's default is {DEFAULT}"
    )


def write_requests(out: str, run: str, requests: int, users: int, seed: int) -> None:
    """Write the ids of this many requests to `out`, and the probabilities that JAX gives them one by one.

    Raises:
      ValueError: the answers of two requests are so similar that one would pass for the other.
    """
    import numpy as np

    from experiments.benchmark.setting import drawn

    columns = drawn(SIZES, np.full(requests, T), T, K, np.random.default_rng(seed))
    if users:
        columns |= {name: columns[name][np.arange(requests) % users] for name in columns if "hist_" in name}
    ask = by_jax(run)
    want_NK = np.concatenate([ask({name: ids[[n]] for name, ids in columns.items()}) for n in range(requests)])
    nearest = np.abs(np.diff(want_NK, axis=0)).max(axis=1).min()
    if nearest <= 100 * TOLERANCE:
        raise ValueError(f"two requests' probabilities differ by {nearest:.1g} only: a wrong answer would pass")
    np.savez(out, **columns, want_NK=want_NK)


def load(folder: str, asked: str, users: int, threads: int, clients: int) -> dict[str, dict[str, float]]:
    """Latencies and requests per second of a Ranker that `clients` threads ask, after some requests for warm-up.

    Raises:
      ValueError: a request got a wrong answer.
    """
    import numpy as np

    from dienjax.serving import Ranker

    ranker, (requests, want_NK) = Ranker(folder, threads), _read(asked)
    for history, candidates in requests[:WARM]:
        # A cold user's first event is left out, so that the history itself stays unknown.
        ranker.score(history if users else {name: values[1:] for name, values in history.items()}, candidates)
    answers, taken, seconds = answered(ranker.score, requests, clients)
    compare("load test", np.stack(answers), want_NK)
    what = next(what for what, count in USERS.items() if count == users)
    return {what: quantiles(taken) | {"per_s": len(requests) / seconds}}


def answered(
    score: Callable[..., Any], requests: Sequence[tuple[Any, Any]], clients: int
) -> tuple[list[Any], list[float], float]:
    """The answers, the seconds that each took, and the seconds of all, with `clients` threads asking at once."""
    answers, taken = [None] * len(requests), [0.0] * len(requests)
    ready = Barrier(clients + 1)

    def ask(first: int) -> None:
        ready.wait()
        for n in range(first, len(requests), clients):
            start = time.perf_counter()
            answers[n] = score(*requests[n])
            taken[n] = time.perf_counter() - start

    with ThreadPoolExecutor(clients) as pool:
        asking = [pool.submit(ask, first) for first in range(clients)]
        ready.wait()
        start = time.perf_counter()
        for one in asking:
            one.result()
        return answers, taken, time.perf_counter() - start


def parts(folder: str, asked: str, threads: int) -> dict[str, dict[str, float]]:
    """The same for the parts of a call, asked by one thread."""
    from dienjax.serving.encoding import encode_lists, known_values
    from dienjax.serving.folder import read_export

    export, (requests, _) = read_export(folder), _read(asked)
    fields = {name: known_values(export.vocabulary(name) or [], export.ids) for name in SIZES}
    encode, score = (through(folder, [graph], threads) for graph in SERVING)

    def to_ids(history: Any, candidates: Any) -> dict[str, Any]:
        ids = encode_lists("history", history, fields)
        of_user = {f"hist_{name}": ids_T[None] for name, ids_T in ids.items()}
        return of_user | {name: ids_K[None] for name, ids_K in encode_lists("candidates", candidates, fields).items()}

    found, given = {}, list[Any](requests)
    for what, call in {VALUES: to_ids, "user encoder": encode, SCORER: score}.items():
        answers, taken, seconds = answered(call, given, 1)
        found[what] = quantiles(taken) | {"per_s": len(given) / seconds}
        given = [(answer,) for answer in answers]
    return {what: cost for what, cost in found.items() if what == SCORER or threads == 1}  # the others have no threads


def quantiles(taken: Sequence[float]) -> dict[str, float]:
    """The 50th, 95th and 99th percentile of seconds, in milliseconds."""
    import numpy as np

    return dict(zip(("p50", "p95", "p99"), (1e3 * np.percentile(taken, (50, 95, 99))).tolist(), strict=True))


def _read(asked: str) -> tuple[list[tuple[Any, Any]], Any]:
    """The raw values (history, candidates) of the requests that `write_requests` wrote, and their probabilities."""
    import numpy as np

    with np.load(asked) as columns:
        ids, want_NK = (
            {f"{p}{name}": columns[f"{p}{name}"] for p in ("hist_", "") for name in SIZES},
            columns["want_NK"],
        )

    def raw(prefix: str, n: int) -> dict[str, list[str]]:
        return {name: [text(name, id) for id in ids[prefix + name][n].tolist()] for name in SIZES}

    return [(raw("hist_", n), raw("", n)) for n in range(len(want_NK))], want_NK
