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
import pyarrow.compute as pc
import pyarrow.csv as csv
from tqdm import tqdm

from data_prep.fetch import check, fetched
from data_prep.recipe import Common, command
from dienjax.data.store import Store
from dienjax.preparation.prepare import prepare

SERVER = "http://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
REVIEWS = pa.schema([("user", pa.string()), ("item", pa.string()), ("timestamp", pa.int64()), ("rating", pa.float32())])
ITEMS = pa.schema([
    ("category", pa.string()), ("categories", pa.list_(pa.string())), ("brand", pa.string()), ("price", pa.float64()),
])  # fmt: skip
BATCH = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Args(Common):
    """Prepare Amazon reviews.

    Give the files of the 5-core data of 2014 by --folder and --name, or one by one by --reviews and --meta; or a
    tab-separated table by --interactions. Any of them may be gzip or plain. The attribute of an event, unless others
    are given, is the category of its item, the last of the item's first path, as in the DIEN authors' code. The files
    have its brand, its categories (all names on all paths, a set) and its price besides. The reviews have terms of
    their own and are not part of dienjax: see https://jmcauley.ucsd.edu/data/amazon, and cite He & McAuley (WWW 2016)
    and McAuley et al. (SIGIR 2015).
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
    items: Path | None = None
    """A table of the items beside --interactions, tab separated, whose header has item and columns for --attribute."""
    protocol: Literal["last", "all"] = "last"
    """last: users split into train and test, the last event is the target (DIEN paper); all: leave one out."""
    hist_label: str | None = None
    """Which reviews were a positive signal for the auxiliary loss, such as "rating >= 4"; by default all are."""


def main(args: Args) -> Store:
    """Read the files and write the store."""
    args.check_out()
    if args.interactions and not (args.folder or args.name or args.reviews or args.meta):
        log = _with_items(args.interactions, args.items) if args.items else args.interactions
    else:
        log = read_raw(*raw_files(args))
    return prepare(
        log,
        args.out,
        user="user",
        item="item",
        time="timestamp",
        attributes=args.attributes or ("category",),
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
    if args.folder and args.name and not (args.reviews or args.meta or args.interactions or args.items):
        names = f"reviews_{args.name}_5.json.gz", f"meta_{args.name}.json.gz"
        reviews, meta = (args.folder / name for name in names)
        advice = (
            f"fetch them by --fetch, or download {' and '.join(f'{args.mirror}/{n}' for n in names)} into the folder"
        )
    elif args.reviews and args.meta and not (args.folder or args.name or args.interactions or args.items or args.fetch):
        reviews, meta, advice = args.reviews, args.meta, "expected the reviews and the items of one category"
    else:
        raise ValueError(
            "which files? expected --folder and --name (these can be fetched by --fetch), or --reviews and --meta, "
            "or --interactions, and perhaps --items beside it; one of the three"
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
    """The events in the order of the file of reviews: user, item, timestamp, rating, and the columns of `ITEMS`.

    Raises:
      ValueError: a line that cannot be read, or a gzip file that breaks off.
    """
    log = read_reviews(reviews)
    item_E = log["item"].combine_chunks().dictionary_encode()
    items = item_E.dictionary.to_pylist()
    about, conflicts = read_items(meta, set(items))
    of_items = pa.Table.from_pylist([about.get(item, {}) for item in items], ITEMS)
    print(
        f"{log.num_rows:,} reviews of {len(items):,} items; {of_items['category'].null_count:,} items have no "
        f"category in {meta.name}, {conflicts:,} have several entries that differ: the first counts"
    )
    for name in ITEMS.names:
        log = log.append_column(name, of_items[name].take(item_E.indices))
    return log


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


def read_items(file: Path, wanted: set[str]) -> tuple[dict[str, dict[str, Any]], int]:
    """The columns of `ITEMS` of each wanted item, and of how many items the file later states another category.

    A Python literal takes long to read, so a line that names only other items is skipped.
    """
    about: dict[str, dict[str, Any]] = {}
    conflicts: set[str] = set()
    asin = re.compile(rb"""["']asin["']\s*:\s*["']([^"'\\]*)["']""")
    wanted_bytes = {item.encode() for item in wanted}
    for number, line in _lines(file):
        named = asin.findall(line)
        whole = line.startswith(b"{") and line.rstrip().endswith(b"}")
        if whole and line.count(b"asin") == len(named) > 0 and wanted_bytes.isdisjoint(named):
            continue
        entry = _parse(line, file, number)
        item, paths, brand, price = (entry.get(key) for key in ("asin", "categories", "brand", "price"))
        paths = paths or [[]]
        lists = isinstance(paths, list) and all(isinstance(path, list) for path in paths)
        names = [name for path in paths for name in path] if lists else [paths]
        if not all(isinstance(text, str) for text in [item, *names]):
            raise ValueError(
                f"{file}, line {number:,}: asin and categories are {item!r} and {str(paths)[:80]}; expected a text and "
                "a list of lists of texts: is this a meta file?"
            )
        if not isinstance(brand, str | None) or not isinstance(price, int | float | None):
            raise ValueError(
                f"{file}, line {number:,}: brand and price are {brand!r} and {price!r}; expected a text and a number"
            )
        if item in wanted:
            leaf = paths[0][-1] if paths[0] else None
            first = about.get(item)
            if first is None or first["category"] is None:
                about[item] = {"category": leaf, "categories": names, "brand": brand or None, "price": price}
            elif leaf is not None and first["category"] != leaf:
                conflicts.add(item)
    return about, len(conflicts)


def _with_items(interactions: Path, items: Path) -> pa.Table:
    """The events with the columns of their items; of a column that both have, the events' own counts.

    Raises:
      ValueError: a table without the column item, or an item that stands twice.
    """
    log, about = (_tab_separated(file) for file in (interactions, items))
    about = about.drop_columns([name for name in about.column_names if name != "item" and name in log.column_names])
    if len(about["item"].unique()) < len(about):
        raise ValueError(f"{items}: an item stands twice; expected one row for each")
    place_E = pc.index_in(log["item"], about["item"])
    for name in about.column_names:
        if name != "item":
            log = log.append_column(name, about[name].take(place_E))
    return log


def _tab_separated(file: Path) -> pa.Table:
    """The table in a file, by its header."""
    try:
        table = csv.read_csv(file, parse_options=csv.ParseOptions(delimiter="\t"))
    except pa.ArrowInvalid as error:
        raise ValueError(f"{file}: {error}; expected a table with a header, tab separated") from error
    if "item" not in table.column_names:
        raise ValueError(f"{file} has the columns {', '.join(table.column_names)}; expected one named item")
    return table


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
