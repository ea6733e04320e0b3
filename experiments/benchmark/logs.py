"""Generated logs of any size: what preparing one costs depends on how many events, users and items it has."""

from pathlib import Path

import numpy as np

USERS, ITEMS, CATEGORIES = 200_000 / 1_700_000, 60_000 / 1_700_000, 900
"""Users and items per event; categories at most."""

YEAR = 365 * 24 * 3600
SINCE = 1_700_000_000


def sizes(events: int) -> dict[str, int]:
    """How many users, items and categories a log of this many events has."""
    users, items = max(1, round(events * USERS)), max(2, round(events * ITEMS))
    return {"events": events, "users": users, "items": items, "categories": min(CATEGORIES, items)}


def generate(events: int, seed: int = 0) -> dict[str, np.ndarray]:
    """The columns user, item, category, time of a log in order of time, all int64; equal for equal seeds.

    Every user has at least 2 events, and a geometric number beyond these; items, of one category each, have popularity
    1 / rank, and each occurs at least once. Ids tell nothing about either.
    """
    rng, size = np.random.default_rng(seed), sizes(events)
    users, items = size["users"], size["items"]
    rate_U = rng.exponential(size=users)
    count_U = 2 + rng.multinomial(events - 2 * users, rate_U / rate_U.sum())
    # A power of a uniform number with a fixed base falls on rank k with probability log(1 + 1 / k) / log(items + 1).
    rank_E = np.append(np.arange(items), ((items + 1) ** rng.random(events - items) - 1).astype(np.int64))
    item_E = rng.permutation(items)[rng.permutation(rank_E)]
    return {
        "user": rng.permutation(np.repeat(rng.permutation(users), count_U)),
        "item": item_E,
        "category": rng.permutation(np.arange(items) % size["categories"])[item_E],
        "time": np.sort(SINCE + rng.integers(YEAR, size=events)),
    }


def write(out: str, events: int, seed: int) -> dict[str, int]:
    """Write a generated log to the folder `out`, as log.parquet and log.csv; return the size of each file in bytes."""
    import pyarrow as pa
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    Path(out).mkdir(parents=True)
    table = pa.table(generate(events, seed))
    pq.write_table(table, f"{out}/log.parquet")
    csv.write_csv(table, f"{out}/log.csv", csv.WriteOptions(quoting_style="none"))
    return {file.name: file.stat().st_size for file in sorted(Path(out).iterdir())}
