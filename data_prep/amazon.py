"""Amazon reviews (user, item, category, timestamp) to an event store."""

import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import tyro

from dienjax.data.prepare import prepare
from dienjax.data.store import Store, check_free


@dataclass(frozen=True)
class Args:
    """Prepare Amazon reviews: a tab-separated file with the header user, item, category, timestamp, .gz or plain."""

    interactions: Path
    """The file of reviews, one event a row."""
    out: Path
    """The folder that the event store is written to."""
    protocol: Literal["last", "all"] = "last"
    """last: users split into train and test, the last event is the target (DIEN paper); all: leave one out."""
    seed: int = 0
    """Decides which users test and which negatives they meet."""
    test_fraction: float = 0.1
    """Share of the users that test (protocol last)."""
    valid_fraction: float = 0.05
    """Share of the other users that validate (protocol last)."""
    force: bool = False
    """Replace a store that already stands in the folder."""


def main(args: Args) -> Store:
    """Reads the file, writes the store and prints what is in it."""
    if not args.interactions.is_file():
        raise FileNotFoundError(
            f"no file {str(args.interactions)!r}; expected the reviews as user, item, category, timestamp"
        )
    check_free(args.out, args.force)
    # As text: an Amazon item number may be all digits with leading zeros, and "NA" is no missing value.
    text = dict.fromkeys(("user", "item", "category"), str)
    frame = pd.read_csv(args.interactions, sep="\t", dtype=text, keep_default_na=False, na_values=[""], quoting=3)
    store = prepare(
        frame,
        args.out,
        user="user",
        item="item",
        time="timestamp",
        attributes=("category",),
        protocol=args.protocol,
        seed=args.seed,
        test_fraction=args.test_fraction,
        valid_fraction=args.valid_fraction,
        force=args.force,
    )
    print(summary(store))
    return store


def summary(store: Store) -> str:
    """A few lines for a person: counts, history lengths, and what to do next."""
    counts, sizes = store.info["counts"], store.schema.sizes()
    lines = [
        f"{counts['users']:,} users, {counts['events']:,} events; known in training: {sizes['item'] - 2:,} items, "
        f"{sizes['category'] - 2:,} categories",
        f"{'split':<10}{'samples':>10}   history length at 10, 50, 90, 99, 100 %",
    ]
    for split in store.splits:
        samples = store.samples(split)
        length_N = samples.end_N - store.offsets[samples.user_N]
        shown = np.percentile(length_N, (10, 50, 90, 99, 100)).astype(int) if len(length_N) else ["-"]
        lines.append(f"{split:<10}{len(samples):>10,}   {' '.join(f'{n:>4}' for n in shown)}")
    for reason, number in store.info["left_out"].items():
        lines.append(f"left out: {number:,} {reason}")
    for split, number in store.info["unknown"]["positives"].items():
        lines.append(f"{split}: {number:,} targets with an item that training never saw")
    lines.append(f"written to {store.path}, schema {store.schema.hash}")
    lines.append(f"next: dienjax train experiments/<name>.toml --store {store.path} --run runs/<name>")
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        main(tyro.cli(Args, prog="python -m data_prep.amazon"))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        print(f"data_prep.amazon: {error}", file=sys.stderr)
        sys.exit(2)
