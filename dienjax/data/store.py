"""The event store on disk: memory-mapped columns sorted by (user, time), and samples as a few integers.

store.json  schema.json  offsets.npy  time.npy  hist_label.npy  raw_item.npy  train_row.npy  users.parquet
events/<behaviour>.npy   users/<field>.npy      vocab/<table>.parquet
splits/<split>/user.npy, end.npy, and with fixed candidates time.npy, first.npy, label.npy, candidate/<field>.npy
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dienjax.errors import nearest
from dienjax.files import new_folder
from dienjax.schema import Dense, Schema, Side, Sparse

FORMAT, VERSION = "dienjax event store", 3


@dataclass(frozen=True)
class Candidates:
    """The C candidates of N samples, those of one sample side by side.

    Attributes:
      first: [N + 1] where the candidates of each sample begin (int64).
      time_N: when they were shown.
      field: ids (int32) or dense values (float32) [C] by field name.
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
      events: int32 ids [E] by behaviour name, sorted by (user, time).
      time_E: time of each event (int64 or float64).
      raw_item_E: which of the log's items each event is (int32); unlike an id it tells unknown items apart.
      train_row: the rows of the events that training knows, from which its negatives are drawn (int64, ascending); all
        rows where those are of one item.
      users: ids (int32) or dense values (float32) [U] by field name.
      hist_label_E: float32, 1 where an event was a positive signal; None where the log does not say.
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

    @classmethod
    def open(cls, path: str | Path) -> "Store":
        """Opens a store folder; its columns stay on disk until they are read.

        Raises:
          FileNotFoundError: no such folder, or a file of the store is gone.
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
        info = _read_json(path / "store.json")
        if info.get("format") != FORMAT:
            raise ValueError(f"Store.open: {str(path)!r} has format {info.get('format')!r}; expected {FORMAT!r}")
        if info.get("version") != VERSION:
            raise ValueError(
                f"Store.open: {str(path)!r} has format version {info.get('version')}; this dienjax reads version "
                f"{VERSION}: prepare the log again"
            )
        schema = Schema.from_json(_read_json(path / "schema.json"))
        if schema.hash != info["schema_hash"]:
            raise ValueError(
                f"Store.open: schema.json of {str(path)!r} has hash {schema.hash}, but the store was written with "
                f"{info['schema_hash']}: prepare the log again"
            )
        offsets = _load(path / "offsets.npy")
        labels = path / "hist_label.npy"
        U, E = len(offsets) - 1, int(offsets[-1])
        return cls(
            path=path,
            schema=schema,
            info=info,
            offsets=offsets,
            events={b.name: _load(path / "events" / f"{b.name}.npy", E) for b in schema.behaviours},
            time_E=_load(path / "time.npy", E),
            raw_item_E=_load(path / "raw_item.npy", E),
            train_row=_load(path / "train_row.npy"),
            users={f.name: _load(path / "users" / f"{f.name}.npy", U) for f in side(schema, "user")},
            hist_label_E=_load(labels, E) if info["hist_label"] else None,
        )

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
        folder, N = self.path / "splits" / split, self.info["samples"][split]
        user_N, end_N = _load(folder / "user.npy", N), _load(folder / "end.npy", N)
        if split not in self.info["fixed_candidates"]:
            return Samples(user_N, end_N)
        first = _load(folder / "first.npy", N + 1)
        C = int(first[-1])
        names = [f.name for f in (*self.schema.behaviours, *side(self.schema, "candidate"))]
        field = {name: _load(folder / "candidate" / f"{name}.npy", C) for name in names}
        time_N, label_C = _load(folder / "time.npy", N), _load(folder / "label.npy", C)
        return Samples(user_N, end_N, Candidates(first, time_N, field, label_C))

    def vocabulary(self, table: str) -> pd.DataFrame:
        """The (id, value, count) of a table, from id 2 on.

        Raises:
          ValueError: the schema has no such table.
        """
        known = [t.name for t in self.schema.tables]
        if table not in known:
            raise ValueError(f"Store {str(self.path)!r} has no table {table!r}; {nearest(table, known)}")
        return pd.read_parquet(self.path / "vocab" / f"{table}.parquet")

    def user_values(self) -> pd.Series:
        """The log's own name of each user, by user row."""
        return pd.read_parquet(self.path / "users.parquet")["value"]


def side(schema: Schema, of: Side) -> list[Sparse | Dense]:
    """The sparse and dense fields of the users, or of the candidates."""
    fields: tuple[Sparse | Dense, ...] = (*schema.sparse, *schema.dense)
    return [f for f in fields if f.of == of]


def check_free(path: str | Path, force: bool) -> None:
    """Refuses a path that a store cannot be written to, before any work is done for it.

    Raises:
      FileExistsError: something is there, and it is no store or `force` is False.
    """
    path = Path(path)
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / "store.json").is_file():
        raise FileExistsError(
            f"{str(path)!r} exists and is not an event store; it is never replaced: choose another folder"
        )
    if not force:
        raise FileExistsError(
            f"{str(path)!r} already holds an event store; choose another folder, or replace it: force=True (--force)"
        )


def write_store(
    path: str | Path,
    *,
    schema: Schema,
    info: dict[str, Any],
    offsets: np.ndarray,
    events: Mapping[str, np.ndarray],
    time_E: np.ndarray,
    raw_item_E: np.ndarray,
    train_row: np.ndarray,
    splits: Mapping[str, Samples],
    vocab: Mapping[str, pd.DataFrame],
    user_values: pd.Series,
    users: Mapping[str, np.ndarray] | None = None,
    hist_label_E: np.ndarray | None = None,
    force: bool = False,
) -> Store:
    """Writes a store and opens it: first under a hidden name beside it, then renamed, so it is whole or absent.

    `info` gains the format, version, schema hash and samples per split.

    Raises:
      FileExistsError: the folder exists and is no store, or is one and `force` is False.
      ValueError: a field whose name cannot be a file's.
    """
    path = Path(path).absolute()
    check_free(path, force)
    fields = [b.name for b in schema.behaviours]
    for name in (*schema.field_names, *(t.name for t in schema.tables), *splits):
        if "/" in name or "\\" in name or name.startswith("."):
            raise ValueError(f"write_store: {name!r} names a file of the store; rename it without '/' or a leading dot")
    info = info | {
        "format": FORMAT,
        "version": VERSION,
        "schema_hash": schema.hash,
        "hist_label": hist_label_E is not None,
        "samples": {name: len(samples) for name, samples in splits.items()},
        "fixed_candidates": [name for name, samples in splits.items() if samples.candidates is not None],
    }
    with new_folder(path, force=path.exists()) as partial:
        _save(partial / "offsets.npy", offsets, np.int64)
        _save(partial / "time.npy", time_E)
        _save(partial / "raw_item.npy", raw_item_E, np.int32)
        _save(partial / "train_row.npy", train_row, np.int64)
        for name in fields:
            _save(partial / "events" / f"{name}.npy", events[name], np.int32)
        if hist_label_E is not None:
            _save(partial / "hist_label.npy", hist_label_E, np.float32)
        for field in side(schema, "user"):
            dtype = np.int32 if isinstance(field, Sparse) else np.float32
            _save(partial / "users" / f"{field.name}.npy", (users or {})[field.name], dtype)
        for name, samples in splits.items():
            _save(partial / "splits" / name / "user.npy", samples.user_N, np.int32)
            _save(partial / "splits" / name / "end.npy", samples.end_N, np.int64)
            if (shown := samples.candidates) is not None:
                _save(partial / "splits" / name / "first.npy", shown.first, np.int64)
                _save(partial / "splits" / name / "time.npy", shown.time_N)
                _save(partial / "splits" / name / "label.npy", shown.label_C, np.float32)
                for of, value in shown.field.items():
                    _save(partial / "splits" / name / "candidate" / f"{of}.npy", value)
        (partial / "vocab").mkdir()
        for table, frame in vocab.items():
            frame.to_parquet(partial / "vocab" / f"{table}.parquet", index=False)
        pd.DataFrame({"value": user_values}).to_parquet(partial / "users.parquet", index=False)
        (partial / "schema.json").write_text(json.dumps(schema.to_json(), indent=1))
        (partial / "store.json").write_text(json.dumps(info, indent=1))
        Store.open(partial)
    return Store.open(path)


def _save(file: Path, array: np.ndarray, dtype: type | None = None) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, np.asarray(array, dtype), allow_pickle=False)


def _load(file: Path, length: int | None = None) -> np.ndarray:
    if not file.is_file():
        raise FileNotFoundError(f"Store.open: {str(file)!r} is missing, the store is incomplete: prepare the log again")
    try:
        # A plain view of the mapped pages: indexing np.memmap itself costs a wrapper per call.
        array = np.load(file, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    except (ValueError, EOFError) as error:
        raise ValueError(f"Store.open: {str(file)!r} cannot be read ({error}): prepare the log again") from error
    if length is not None and len(array) != length:
        raise ValueError(f"Store.open: {str(file)!r} has {len(array)} rows; expected {length}: prepare the log again")
    return array


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text())
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"Store.open: {str(file)!r} cannot be read ({error}): prepare the log again") from error
