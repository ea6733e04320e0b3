"""The event store on disk: memory-mapped columns sorted by (user, time), and samples as a few integers.

store.json  schema.json  manifest.json (the SHA-256 of each file)  users.parquet
offsets.npy  time.npy    hist_label.npy  raw_item.npy  train_row.npy
events/<field>.npy       users/<field>.npy      vocab/<table>.parquet, if values have their ids from one
splits/<split>/user.npy, end.npy, and with fixed candidates time.npy, first.npy, label.npy, candidate/<field>.npy
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dienjax.data.mapped import AGAIN, Column, load_array, save_array
from dienjax.data.values import read_values
from dienjax.errors import nearest
from dienjax.schema import Field, Schema, check_names, shaped
from dienjax.storage.files import read_object, sha256
from dienjax.storage.folders import Purpose, check_free, is_empty, new_folder
from dienjax.storage.manifest import FILE as MANIFEST
from dienjax.storage.manifest import damage, manifest_of, read_manifest

FORMAT, VERSION = "dienjax event store", 3
TIMES = np.int64, np.float64
ENDS = re.compile("splits/([^/]*)/end")


@dataclass(frozen=True)
class Candidates:
    """The C candidates of N samples, those of one sample side by side.

    Attributes:
      first: [N + 1] where the candidates of each sample begin (int64).
      time_N: when they were shown.
      field: ids (int32) or numbers (float32) [C] by field name, of a set [C, M].
      label_C: float32, 1 where the candidate was clicked.
    """

    first: np.ndarray
    time_N: np.ndarray
    field: dict[str, np.ndarray]
    label_C: np.ndarray


@dataclass(frozen=True)
class Samples:
    """N samples of a split. The history is the user's events before `end_N`.

    Without candidates, the event at `end_N` is the positive candidate and negatives are drawn.
    """

    user_N: np.ndarray
    end_N: np.ndarray
    candidates: Candidates | None = None

    def __len__(self) -> int:
        return len(self.end_N)


@dataclass(frozen=True)
class Store:
    """A prepared log of E events and U users.

    Attributes:
      schema: its fields; events hold the behaviours, users the user side, candidates their own side.
      info: protocol, seed, counts, what was left out and why.
      offsets: [U + 1] first event row of each user (int64).
      events: int32 ids [E], or of a set [E, M], and float32 numbers [E] by field name, sorted by (user, time); not
        the fields that are derived from the time.
      time_E: time of each event (int64 or float64).
      raw_item_E: which of the log's items each event is (int32); unlike an id it tells unknown items apart.
      train_row: the rows of the events that training knows, from which its negatives are drawn (int64, ascending); all
        rows if those have only one item.
      users: ids (int32) or numbers (float32) [U] by field name, of a set [U, M].
      hist_label_E: float32, 1 where an event was a positive signal; None if the log does not say.
      digest: SHA-256 of the manifest, which has that of every file: stores with the same digest are equal.
    """

    path: Path
    schema: Schema
    info: dict[str, Any]
    offsets: np.ndarray
    events: dict[str, np.ndarray]
    time_E: np.ndarray
    raw_item_E: np.ndarray
    train_row: np.ndarray
    users: dict[str, np.ndarray]
    hist_label_E: np.ndarray | None = None
    digest: str = ""

    @classmethod
    def open(cls, path: str | Path) -> "Store":
        """Open a store folder; its columns stay on disk until they are read.

        Raises:
          FileNotFoundError: no such folder, or a file of the store is missing.
          ValueError: not a store, another format version, or files that do not fit together.
        """
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"Store.open: no folder {str(path)!r}; prepare a log into it first")
        if not (path / "store.json").is_file():
            raise ValueError(
                f"Store.open: {str(path)!r} is not an event store, it has no store.json; "
                "expected a folder that prepare wrote"
            )
        while True:
            digest = _digest(path)
            try:
                return cls._open(path, digest)
            except (OSError, ValueError):
                if _digest(path) == digest:
                    raise
            # else another process put another store there meanwhile: that one

    @classmethod
    def _open(cls, path: Path, digest: str) -> "Store":
        info = _read_json(path / "store.json")
        if info.get("format") != FORMAT:
            raise ValueError(f"Store.open: {str(path)!r} has format {info.get('format')!r}; expected {FORMAT!r}")
        if info.get("version") != VERSION:
            raise ValueError(
                f"Store.open: {str(path)!r} has format version {info.get('version')}; this dienjax reads version "
                f"{VERSION}: prepare the log again"
            )
        schema = Schema.from_json(_read_json(path / "schema.json"))
        _check_info(path, info)
        if schema.hash != info["schema_hash"]:
            raise ValueError(
                f"Store.open: schema.json of {str(path)!r} has hash {schema.hash}, but the store was written with "
                f"{info['schema_hash']}: prepare the log again"
            )
        _check_listed(path)
        offsets = load_array(path / "offsets.npy", None, np.int64)
        labels = path / "hist_label.npy"
        if not len(offsets):
            raise ValueError(f"Store.open: offsets.npy of {str(path)!r} is empty: {AGAIN}")
        U, E = len(offsets) - 1, int(offsets[-1])
        store = cls(
            path=path,
            schema=schema,
            info=info,
            offsets=offsets,
            events=_columns(path / "events", E, schema.stored_fields),
            time_E=load_array(path / "time.npy", E, *TIMES),
            raw_item_E=load_array(path / "raw_item.npy", E, np.int32),
            train_row=load_array(path / "train_row.npy", None, np.int64),
            users=_columns(path / "users", U, schema.side("user")),
            hist_label_E=load_array(labels, E, np.float32) if info["hist_label"] else None,
            digest=digest,
        )
        with store._unchanged():
            return store

    def verify(self) -> None:
        """Compare every file with the SHA-256 that was written with it; do so before computing from a store.

        Raises:
          ValueError: a file is damaged, or the store was replaced since it was opened.
        """
        with self._unchanged():
            if why := damage(self.path, read_manifest(self.path)):
                raise ValueError(f"Store {str(self.path)!r} is damaged: {why}; {AGAIN}")

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Raises ValueError if at the end there is another store than the one that was opened."""
        try:
            yield
        finally:
            now = _digest(self.path)
            if not now:
                raise FileNotFoundError(f"Store {str(self.path)!r} has no {MANIFEST} (any more): {AGAIN}")
            if now != self.digest:
                raise ValueError(f"Store {str(self.path)!r} was replaced or damaged since it was opened: open it again")

    @property
    def splits(self) -> list[str]:
        return list(self.info["samples"])

    def samples(self, split: str) -> Samples:
        """The samples of a split.

        Raises:
          ValueError: the store has no such split.
        """
        if split not in self.splits:
            raise ValueError(f"Store {str(self.path)!r} has no split {split!r}; {nearest(split, self.splits)}")
        with self._unchanged():
            return self._samples(split)

    def _samples(self, split: str) -> Samples:
        folder, N = self.path / "splits" / split, self.info["samples"][split]
        user_N, end_N = load_array(folder / "user.npy", N, np.int32), load_array(folder / "end.npy", N, np.int64)
        if split not in self.info["fixed_candidates"]:
            return Samples(user_N, end_N)
        first = load_array(folder / "first.npy", N + 1, np.int64)
        C = int(first[-1])
        field = _columns(folder / "candidate", C, (*self.schema.stored_fields, *self.schema.side("candidate")))
        time_N, label_C = load_array(folder / "time.npy", N, *TIMES), load_array(folder / "label.npy", C, np.float32)
        return Samples(user_N, end_N, Candidates(first, time_N, field, label_C))

    def vocabulary(self, table: str) -> pd.DataFrame:
        """The (id, value, count) of a table, from id 2 on.

        Raises:
          ValueError: the schema has no such table, the table has no vocabulary, or the file is damaged.
        """
        tables = {t.name: t for t in self.schema.tables}
        if table not in tables:
            raise ValueError(f"Store {str(self.path)!r} has no table {table!r}; {nearest(table, tables)}")
        if not tables[table].has_vocabulary:
            raise ValueError(f"Store {str(self.path)!r} keeps no values of the table {table!r}: they are hashed or cut")
        with self._unchanged():
            return read_values(self.path, f"vocab/{table}.parquet", read_manifest(self.path))

    def user_values(self) -> pd.Series:
        """Each user's id in the log, by user row."""
        with self._unchanged():
            return read_values(self.path, "users.parquet", read_manifest(self.path))["value"]


def is_store(path: Path) -> bool:
    """Whether a folder is an event store, of any version."""
    try:
        return read_object(path / "store.json").get("format") == FORMAT
    except (OSError, ValueError):
        return False


PURPOSE = Purpose("an event store", is_store)


def write_store(
    path: str | Path,
    *,
    schema: Schema,
    info: dict[str, Any],
    columns: Mapping[str, Column],
    vocab: Mapping[str, pd.DataFrame],
    user_values: pd.Series,
    force: bool = False,
) -> Store:
    """Write a store and open it; it is written under a hidden name and then renamed, so it is complete or absent.

    `columns` has the column of each .npy file by its name in the store, such as "splits/train/end", in the dtype that
    `Store` says. `info` gains the format, version, schema hash and samples per split.

    Raises:
      FileExistsError: the folder exists and is not a store, or is one and `force` is False.
      ValueError: a field whose name cannot be a file name.
    """
    path = Path(path).absolute()
    force = force or is_empty(path)
    check_free(path, force, PURPOSE)
    samples = {m[1]: len(column) for name, column in columns.items() if (m := ENDS.fullmatch(name))}
    check_names("split", [*samples])
    info = info | {
        "format": FORMAT,
        "version": VERSION,
        "schema_hash": schema.hash,
        "hist_label": "hist_label" in columns,
        "samples": samples,
        "fixed_candidates": [name for name in samples if f"splits/{name}/first" in columns],
    }
    with new_folder(path, force, PURPOSE) as partial:
        with manifest_of(partial) as record:
            for name, column in columns.items():
                save_array(record, partial / f"{name}.npy", column)
            (partial / "vocab").mkdir()
            for table, frame in vocab.items():
                frame.to_parquet(partial / "vocab" / f"{table}.parquet", index=False)
            pd.DataFrame({"value": user_values}).to_parquet(partial / "users.parquet", index=False)
            (partial / "schema.json").write_text(json.dumps(schema.to_json(), indent=1))
            (partial / "store.json").write_text(json.dumps(info, indent=1))
        store = Store.open(partial)
    return replace(store, path=path)  # its arrays stay what was written here, whoever replaces the folder now


def _columns(folder: Path, length: int, fields: Iterable[Field]) -> dict[str, np.ndarray]:
    """The columns of fields by name."""

    def column(field: Field) -> np.ndarray:
        shape, dtype = shaped(field)
        return load_array(folder / f"{field.name}.npy", length, dtype, width=shape[0] if shape else 0)

    return {f.name: column(f) for f in fields}


def _digest(path: Path) -> str:
    """The SHA-256 of a store's manifest; empty if there is none."""
    try:
        return sha256(path / MANIFEST)
    except OSError:
        return ""


def _check_info(path: Path, info: dict[str, Any]) -> None:
    """Refuses a store.json without what opening a store needs."""
    samples, fixed = info.get("samples"), info.get("fixed_candidates")
    sound = (
        isinstance(samples, dict)
        and all(isinstance(n, int) and n >= 0 for n in samples.values())
        and isinstance(fixed, list)
        and all(isinstance(name, str) and name in samples for name in fixed)
        and isinstance(info.get("schema_hash"), str)
        and isinstance(info.get("hist_label"), bool)
    )
    if not sound:
        raise ValueError(f"Store.open: store.json of {str(path)!r} is damaged: {AGAIN}")
    check_names("split", list(info["samples"]))


def _check_listed(path: Path) -> None:
    """Refuses a store that lacks a file, or whose JSON files are not what was written."""
    try:
        digests = read_manifest(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"Store.open: {str(path)!r} has no {MANIFEST}, it is incomplete: {AGAIN}") from error
    except ValueError as error:
        raise ValueError(f"Store.open: {error}: {AGAIN}") from error
    for name in digests:
        if not (path / name).is_file():
            raise FileNotFoundError(f"Store.open: {str(path / name)!r} is missing, the store is incomplete: {AGAIN}")
    for name in ("store.json", "schema.json"):
        if digests.get(name) != sha256(path / name):
            raise ValueError(f"Store.open: {str(path / name)!r} is not what was written: {AGAIN}")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return read_object(file)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"Store.open: {error}: {AGAIN}") from error
