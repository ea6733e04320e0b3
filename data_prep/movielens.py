"""MovieLens 100K, MovieLens 1M and movie_sample.txt as an event store."""

import gzip
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as csv

from data_prep.fetch import fetched
from data_prep.movie_sample import read_sample
from data_prep.recipe import Common, command
from dienjax.data.store import Store
from dienjax.errors import nearest
from dienjax.preparation.prepare import prepare

SERVER = "https://files.grouplens.org/datasets/movielens"
MD5 = {"ml-100k": "0e33842e24a9c977be4e0107933c0723", "ml-1m": "c4d9eecfca2ab87c1945afe126590906"}
"""The publisher's checksums of NAME.zip."""

AGES = np.array([1, 18, 25, 35, 45, 50, 56])
"""The youngest age of each bucket of MovieLens 1M; 1 is under 18."""

Files = Mapping[str, Callable[[], bytes]]
"""How to read each file, by its name without .gz."""


@dataclass(frozen=True, kw_only=True)
class Args(Common):
    """Prepare MovieLens 100K, MovieLens 1M or movie_sample.txt, whichever the folder holds.

    Protocols last and all: which movie does the user rate next, among sampled ones. Protocols user and time (DIN
    paper): will the user rate this movie 4 or 5; the history has the ratings of earlier seconds, and a candidate has
    rating 0, or with --number rating none. Ratings of 4 and 5 are the positive signals of the auxiliary loss. The
    attribute of an event, unless others are given, is the first genre of its movie; `genres` are all, a set.
    movie_sample.txt has its own samples, split by time, and columns. MovieLens has terms of its own (research use, no
    redistribution): see https://grouplens.org/datasets/movielens, and cite Harper & Konstan (TiiS 2015).
    """

    folder: Path
    """The folder of the files, plain, .gz or in their zip archive; or the archive."""
    protocol: Literal["last", "all", "user", "time"] | None = None
    """last: the last rating of each user, users split into train and test (the default); all: leave one out;
    user, time: every rating with its label, split by user or by time. movie_sample.txt allows only time."""
    fetch: Literal["ml-100k", "ml-1m"] | None = None
    """Fetch this archive into the folder first, unless it is there, and check it against the publisher's MD5 (needs
    the extra dienjax[fetch])."""
    mirror: str = SERVER
    """The web folder that --fetch reads from."""


def main(args: Args) -> Store:
    """Read the files and write the store."""
    args.check_out()
    place = args.folder
    if args.fetch:
        place = fetched(f"{args.mirror}/{args.fetch}.zip", place, f"md5:{MD5[args.fetch]}")
    files = find_files(place)
    name = which(files, place)
    if name == "movie_sample":
        if args.protocol not in (None, "time"):
            raise ValueError(f"protocol {args.protocol!r}: movie_sample.txt has samples of its own; expected 'time'")
        events, impressions = read_sample(files["movie_sample.txt"](), str(place / "movie_sample.txt"))
        if args.attributes or args.numbers or args.time_fields:
            raise ValueError(
                "movie_sample.txt has neither other columns nor times: leave --attribute, --number and --time-field out"
            )
        return prepare(
            events,
            args.out,
            user="user",
            item="movie",
            time="time",
            attributes=("type",),
            user_attributes=("gender", "age"),
            impressions=impressions,
            label="label",
            protocol="time",
            **args.options(),
        )
    ratings = (read_100k if name == "ml-100k" else read_1m)(files)
    roles: dict[str, Any] = {
        "user": "user",
        "item": "movie",
        "time": "time",
        "attributes": args.attributes or ("genre",),
        "user_attributes": ("gender", "age", "occupation"),
        "hist_label": "rating >= 4",
    }
    as_numbers = "rating" in [name.partition(":")[0] for name in args.numbers]
    if args.protocol in ("user", "time"):
        # Past ratings tell most about the next one; that of the candidate is what is asked, and stands as 0.
        liked = (ratings["rating"] >= 4).astype(np.int8)
        shown = ratings.assign(liked=liked, rating=np.nan if as_numbers else 0)
        roles |= {"impressions": shown, "label": "liked"}
        roles["attributes"] += () if as_numbers else ("rating",)
    elif as_numbers or "rating" in roles["attributes"]:
        raise ValueError(
            "a candidate of protocol last or all has no rating yet: leave it out, or take protocol user or time"
        )
    return prepare(ratings, args.out, **roles, protocol=args.protocol or "last", **args.options())


def find_files(place: Path) -> Files:
    """The files of a folder and of the MovieLens archives in it, or of an archive, without unpacking to the disk.

    Raises:
      FileNotFoundError: no such folder or archive.
      BadZipFile: a broken archive.
    """
    if place.is_file():
        return _members(place)
    if not place.is_dir():
        raise FileNotFoundError(f"no folder {str(place)!r}; expected a folder of MovieLens files, or --fetch")
    packed = {name: read for archive in sorted(place.glob("ml-*.zip")) for name, read in _members(archive).items()}
    loose = {file.name.removesuffix(".gz"): partial(_read, file) for file in sorted(place.iterdir()) if file.is_file()}
    return packed | loose


def which(files: Files, place: Path) -> str:
    """The name of the data set: ml-100k, ml-1m or movie_sample.

    Raises:
      ValueError: none of them, or several.
    """
    tells = {"u.data": "ml-100k", "ratings.dat": "ml-1m", "movie_sample.txt": "movie_sample"}
    found = [name for file, name in tells.items() if file in files]
    if len(found) != 1:
        got = " and ".join(found) or f"none of {', '.join(tells)}"
        raise ValueError(
            f"{str(place)!r} holds {got}; expected the files of one of {', '.join(tells.values())}: name its folder or "
            "its zip archive, or fetch one by --fetch ml-100k, --fetch ml-1m"
        )
    return found[0]


def read_100k(files: Files) -> pd.DataFrame:
    """The ratings of MovieLens 100K with genre, genres, gender, age bucket and occupation."""
    genres = _table(files, "u.genre", "|", {"genre": pa.string(), "number": pa.int64()})["genre"].tolist()
    about = dict.fromkeys(("title", "released", "video", "address"), pa.string())
    items = _table(files, "u.item", "|", {"movie": pa.int64(), **about, **dict.fromkeys(genres, pa.int64())})
    # The first that is set, "unknown" only where no other is, and missing where none is.
    first = items[sorted(genres, key="unknown".__eq__)].idxmax(axis=1)
    items["genre"] = first.where(items[genres].any(axis=1))
    items["genres"] = [np.array(genres)[is_set].tolist() for is_set in items[genres].to_numpy(bool)]
    text = pa.string()
    users = _table(
        files, "u.user", "|", {"user": pa.int64(), "age": pa.int64(), "gender": text, "occupation": text, "zip": text}
    )
    users["age"] = AGES[np.searchsorted(AGES[1:], users["age"], side="right")]
    return _joined(_table(files, "u.data", "\t", _RATING), items, users)


def read_1m(files: Files) -> pd.DataFrame:
    """The ratings of MovieLens 1M with genre, genres, gender, age bucket and occupation."""
    text = pa.string()
    items = _table(files, "movies.dat", "::", {"movie": pa.int64(), "title": text, "genre": text})
    items["genres"] = items["genre"].str.split("|")
    items["genre"] = items["genres"].str[0]
    codes = dict.fromkeys(("age", "occupation"), pa.int64())
    users = _table(files, "users.dat", "::", {"user": pa.int64(), "gender": text, **codes, "zip": text})
    return _joined(_table(files, "ratings.dat", "::", _RATING), items, users)


_RATING = {"user": pa.int64(), "movie": pa.int64(), "rating": pa.int64(), "time": pa.int64()}


def _joined(ratings: pd.DataFrame, items: pd.DataFrame, users: pd.DataFrame) -> pd.DataFrame:
    log = ratings.merge(items[["movie", "genre", "genres"]], "left", "movie", validate="many_to_one")
    log = log.merge(users[["user", "gender", "age", "occupation"]], "left", "user", validate="many_to_one")
    unknown = [
        f"{int(log[name].isna().sum()):,} without {name}" for name in ("genre", "gender") if log[name].isna().any()
    ]
    print(f"{len(log):,} ratings of {log['movie'].nunique():,} movies{''.join(', ' + u for u in unknown)}")
    return log


def _table(files: Files, name: str, separator: str, columns: dict[str, pa.DataType]) -> pd.DataFrame:
    """The columns of a text file without header, in latin-1."""
    if name not in files:
        raise FileNotFoundError(f"no file {name}, plain or .gz, beside the others; {nearest(name, files)}")
    content = files[name]()
    if len(separator) > 1:
        # Arrow separates by one character; the files hold no tabs.
        content, separator = content.replace(separator.encode(), b"\t"), "\t"
    try:
        table = csv.read_csv(
            pa.BufferReader(content),
            # One thread, for an error to name its row.
            csv.ReadOptions(column_names=list(columns), encoding="latin-1", use_threads=False),
            csv.ParseOptions(delimiter=separator, quote_char=False),
            csv.ConvertOptions(column_types=columns),
        )
    except pa.ArrowInvalid as error:
        raise ValueError(f"{name}: {error}; expected the columns {', '.join(columns)}") from error
    for column in table.column_names:
        if table[column].null_count:
            raise ValueError(
                f"{name}: column {column!r} is empty in {table[column].null_count:,} lines; expected whole numbers"
            )
    return table.to_pandas()


def _members(archive: Path) -> Files:
    try:
        with zipfile.ZipFile(archive) as opened:
            names = [info.filename for info in opened.infolist() if not info.is_dir()]
    except zipfile.BadZipFile as error:
        raise zipfile.BadZipFile(
            f"{archive}: {error}; expected the zip archive of MovieLens: fetch it again"
        ) from error
    return {Path(name).name.removesuffix(".gz"): partial(_read_member, archive, name) for name in names}


def _read_member(archive: Path, name: str) -> bytes:
    with zipfile.ZipFile(archive) as opened:
        return _unpacked(opened.read(name), f"{archive}/{name}")


def _read(file: Path) -> bytes:
    return _unpacked(file.read_bytes(), str(file))


def _unpacked(content: bytes, name: str) -> bytes:
    if not name.endswith(".gz"):
        return content
    try:
        return gzip.decompress(content)
    except EOFError as error:
        raise EOFError(f"{name} breaks off: {error}") from error


if __name__ == "__main__":
    command("movielens", Args, main)
