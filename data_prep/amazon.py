"""Amazon reviews as an event store, from McAuley's files of 2014 or from a table (user, item, category, timestamp)."""

import ast
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from tqdm import tqdm

from data_prep.fetch import check, fetched
from data_prep.recipe import Common, command
from dienjax.data.store import Store, check_free
from dienjax.preparation.prepare import prepare

SERVER = "http://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
REVIEWS = pa.schema([("user", pa.string()), ("item", pa.string()), ("timestamp", pa.int64()), ("rating", pa.float32())])
BATCH = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Args(Common):
    """Prepare Amazon reviews.

    Give the files of the 5-core data of 2014 by --folder and --name, or one by one by --reviews and --meta; or a
    tab-separated table by --interactions. Any of them may be gzip or plain. The category of an item is the last of its
    first path, as in the DIEN authors' code. The reviews have terms of their own and are not part of dienjax: see
    https://jmcauley.ucsd.edu/data/amazon, and cite He & McAuley (WWW 2016) and McAuley et al. (SIGIR 2015).
    """

    folder: Path | None = None
    """The folder of reviews_NAME_5.json.gz and meta_NAME.json.gz."""
    name: str | None = None
    """The name of the category in those file names, such as Sports_and_Outdoors."""
    fetch: bool = False
    """Fetch the two files into the folder first, unless they are there (needs the extra dienjax[fetch]). The publisher
    gives no checksums: the first fetch trusts what arrives and records its SHA-256 beside it (NAME.sha256); later
    fetches and uses are checked against that. Compare it with somebody else's, or pin it by --sha256."""
    sha256: tuple[str, str] | None = None
    """The SHA-256 that the file of reviews and the meta file must have."""
    mirror: str = SERVER
    """The web folder that --fetch reads from."""
    reviews: Path | None = None
    """The file of reviews: a JSON object or Python dict per line."""
    meta: Path | None = None
    """The file of items: a JSON object or Python dict per line."""
    interactions: Path | None = None
    """A table with the header user, item, category, timestamp: one event per row, tab separated."""
    protocol: Literal["last", "all"] = "last"
    """last: users split into train and test, the last event is the target (DIEN paper); all: leave one out."""
    hist_label: str | None = None
    """Which reviews were a positive signal for the auxiliary loss, such as "rating >= 4"; by default all are."""


def main(args: Args) -> Store:
    """Read the files and write the store."""
    check_free(args.out, args.force)
    if args.interactions and not (args.folder or args.name or args.reviews or args.meta):
        log: Path | pa.Table = args.interactions
    else:
        log = read_raw(*raw_files(args))
    return prepare(
        log,
        args.out,
        user="user",
        item="item",
        time="timestamp",
        attributes=("category",),
        protocol=args.protocol,
        hist_label=args.hist_label,
        **args.options(),
    )


def raw_files(args: Args) -> tuple[Path, Path]:
    """The checked files of reviews and of items that the arguments name, fetched first if asked for.

    Raises:
      ValueError: arguments that name none or too many, or a file with another checksum.
      FileNotFoundError: a file that is not there.
    """
    if args.folder and args.name and not (args.reviews or args.meta or args.interactions):
        names = f"reviews_{args.name}_5.json.gz", f"meta_{args.name}.json.gz"
        reviews, meta = (args.folder / name for name in names)
        advice = (
            f"fetch them by --fetch, or download {' and '.join(f'{args.mirror}/{n}' for n in names)} into the folder"
        )
    elif args.reviews and args.meta and not (args.folder or args.name or args.interactions or args.fetch):
        reviews, meta, advice = args.reviews, args.meta, "expected the reviews and the items of one category"
    else:
        raise ValueError(
            "which files? expected --folder and --name (these can be fetched by --fetch), or --reviews and --meta, "
            "or --interactions; one of the three"
        )
    sums = args.sha256 or (None, None)
    for file, checksum in zip((reviews, meta), sums, strict=True):
        if args.fetch:
            fetched(f"{args.mirror}/{file.name}", file.parent, checksum and f"sha256:{checksum}")
        if not file.is_file():
            raise FileNotFoundError(f"no file {str(file)!r}; {advice}")
        check(file, checksum)
    return reviews, meta


def read_raw(reviews: Path, meta: Path) -> pa.Table:
    """The events (user, item, timestamp, rating, category) in the order of the file of reviews.

    Raises:
      ValueError: a line that cannot be read, or a gzip file that breaks off.
    """
    log = read_reviews(reviews)
    item_E = log["item"].combine_chunks().dictionary_encode()
    items = item_E.dictionary.to_pylist()
    category, conflicts = read_categories(meta, set(items))
    print(
        f"{log.num_rows:,} reviews of {len(items):,} items; {sum(i not in category for i in items):,} items have no "
        f"category in {meta.name}, {conflicts:,} have several entries that differ: the first counts"
    )
    category_I = pa.array([category.get(item) for item in items], pa.string())
    return log.append_column("category", category_I.take(item_E.indices))


def read_reviews(file: Path) -> pa.Table:
    """The reviews (user, item, timestamp, rating), a row per line. Only these columns are held, never the lines."""
    batches: list[pa.RecordBatch] = []
    rows: list[tuple[Any, ...]] = []
    for number, line in _lines(file):
        review = _parse(line, file, number)
        row = tuple(review.get(key) for key in ("reviewerID", "asin", "unixReviewTime", "overall"))
        if not all(map(isinstance, row, (str, str, int, int | float | None))):
            raise ValueError(
                f"{file}, line {number:,}: reviewerID, asin, unixReviewTime and overall are {row}; expected two texts, "
                "a whole number and a number: is this a file of reviews?"
            )
        rows.append(row)
        if len(rows) == BATCH:
            batches.append(_batch(rows))
            rows.clear()
    return pa.Table.from_batches([*batches, _batch(rows)], REVIEWS)


def read_categories(file: Path, wanted: set[str]) -> tuple[dict[str, str], int]:
    """The category of each wanted item that has one, and the number of items for which the file later states another.

    A Python literal takes long to read, so a line that names only other items is skipped.
    """
    category: dict[str, str] = {}
    conflicts: set[str] = set()
    asin = re.compile(rb"""["']asin["']\s*:\s*["']([^"'\\]*)["']""")
    wanted_bytes = {item.encode() for item in wanted}
    for number, line in _lines(file):
        named = asin.findall(line)
        whole = line.startswith(b"{") and line.rstrip().endswith(b"}")
        if whole and line.count(b"asin") == len(named) > 0 and wanted_bytes.isdisjoint(named):
            continue
        entry = _parse(line, file, number)
        item, paths = entry.get("asin"), entry.get("categories") or [[]]
        try:
            leaf = paths[0][-1] if paths[0] else None
        except (TypeError, KeyError, IndexError):
            leaf = paths
        if not isinstance(item, str) or not (leaf is None or (isinstance(leaf, str) and isinstance(paths[0], list))):
            raise ValueError(
                f"{file}, line {number:,}: asin and categories are {item!r} and {str(paths)[:80]}; expected a text and "
                "a list of lists of texts: is this a meta file?"
            )
        if leaf is not None and item in wanted and category.setdefault(item, leaf) != leaf:
            conflicts.add(item)
    return category, len(conflicts)


def _batch(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True) if rows else [()] * len(REVIEWS)
    return pa.record_batch([pa.array(c, t) for c, t in zip(columns, REVIEWS.types, strict=True)], schema=REVIEWS)


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """The number (from 1) and content of each line that is not blank, with a progress bar on a terminal."""
    number = 0
    with (
        open(file, "rb") as raw,
        tqdm(desc=file.name, total=file.stat().st_size, unit="B", unit_scale=True, disable=None) as bar,
    ):
        zipped = raw.peek(2)[:2] == b"\x1f\x8b"
        try:
            for number, line in enumerate(io.BufferedReader(gzip.GzipFile(fileobj=raw), 1 << 18) if zipped else raw, 1):
                if number % 4096 == 0:
                    bar.update(raw.tell() - bar.n)
                if not line.isspace():
                    yield number, line
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(
                f"{file}: the gzip file breaks off or is damaged after line {number:,} ({error}); fetch it again"
            ) from error
        bar.update(raw.tell() - bar.n)


def _parse(line: bytes, file: Path, number: int) -> dict[str, Any]:
    """The JSON object or Python dict of a line."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        try:
            entry = ast.literal_eval(line.decode())
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            entry = None
    if not isinstance(entry, dict):
        raise ValueError(
            f"{file}, line {number:,}: neither a JSON object nor a Python dict: "
            f"{line[:80].decode(errors='replace').rstrip()!r}; {number - 1:,} lines before it were read: "
            "correct the line or remove it"
        )
    return entry


if __name__ == "__main__":
    command("amazon", Args, main)
