"""A log in, an event store out: sort, split by protocol, number the values that training saw."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from dienjax.data.negatives import CANDIDATE, Negatives
from dienjax.data.store import Samples, Store, check_free, write_store
from dienjax.data.vocabulary import Vocabulary, build, codes
from dienjax.errors import nearest
from dienjax.schema import UNKNOWN, Behaviour, Schema, Sparse, Table

Protocol = Literal["last", "all"]


def prepare(
    frame: pd.DataFrame,
    out: str | Path,
    *,
    user: str,
    item: str,
    time: str,
    attributes: Sequence[str] = (),
    user_attributes: Sequence[str] = (),
    protocol: Protocol = "last",
    hist_label: str | None = None,
    seed: int = 0,
    test_fraction: float = 0.1,
    valid_fraction: float = 0.05,
    user_id: bool = False,
    force: bool = False,
) -> Store:
    """Writes the event store of a log to the folder `out` and opens it. The frame is left as it is.

    `frame` has one row per event; rows of equal user and time keep its order. Fields are named as its columns.
    A missing attribute is unknown. Samples per protocol, where an event is a target if the user has an earlier one:

    - `last` (the DIEN paper): users are split at random into training, validation and test users. `train` has the
      last event of each training user, `train_all` each of their targets, `valid` and `test` the last event.
    - `all` (the DIN paper, leave one out): each user's last event is in `test`, the one before in `valid`, the other
      targets in `train`. The fractions are not read.

    A sample of `valid` and `test` has two candidates, fixed here: the event and a popularity-weighted negative.

    Args:
      attributes: columns of the event, such as its category; each becomes a behaviour after the item.
      user_attributes: columns that hold one value per user.
      hist_label: a column in [0, 1] that says whether the event was a positive signal.
      test_fraction: share of users that test; valid_fraction: share of the other users that validate.
      user_id: whether the user is a feature too.
      force: whether to replace a store that stands there.

    Raises:
      ValueError: a column that does not exist or cannot be read, no events, no training sample, a single item.
      FileExistsError: `out` exists.
    """
    check_free(out, force)
    columns = [user, item, time, *attributes, *user_attributes, *([hist_label] if hist_label else [])]
    _check(frame, columns, protocol, seed, test_fraction, valid_fraction)

    time_E = _times(frame[time])
    user_E, user_values = _required_codes(frame[user])
    order = np.lexsort((time_E, user_E))
    user_E, time_E = user_E[order], time_E[order]
    count_U = np.bincount(user_E)
    offsets = np.concatenate([[0], np.cumsum(count_U)])

    if protocol == "last":
        ends, train_E, train_U = _split_users(offsets, user_E, seed, test_fraction, valid_fraction)
    else:
        ends, train_E, train_U = _leave_one_out(offsets, user_E)

    vocabularies, events, users = {}, {}, {}
    for name in (item, *attributes):
        code_E, values = _required_codes(frame[name]) if name == item else codes(frame[name])
        code_E = code_E[order]
        vocabularies[name] = build(code_E, values, train_E)
        events[name] = vocabularies[name].ids(code_E)
    for name in user_attributes:
        code_E, values = codes(frame[name])
        code_U = _per_user(name, code_E[order], offsets, user_values)
        vocabularies[name] = build(code_U, values, train_U)
        users[name] = vocabularies[name].ids(code_U)
    if user_id:
        vocabularies[user] = build(np.arange(len(count_U)), user_values, train_U)
        users[user] = vocabularies[user].ids(np.arange(len(count_U)))

    splits = {}
    negatives = Negatives(events[item], offsets, vocabularies[item].size, seed=seed)
    for number, (name, end_N) in enumerate(ends.items()):
        user_N = user_E[end_N]
        if name in ("valid", "test"):
            splits[name] = _with_candidates(user_N, end_N, events, events[item], negatives, number)
        else:
            splits[name] = Samples(user_N, end_N)

    schema = _schema(vocabularies, (item, *attributes), tuple(users))
    return write_store(
        out,
        schema=schema,
        info={
            "protocol": protocol,
            "seed": seed,
            "columns": {"user": user, "item": item, "time": time, "hist_label": hist_label},
            "fractions": {"test": test_fraction, "valid": valid_fraction} if protocol == "last" else None,
            "counts": {"users": len(count_U), "events": len(user_E), "training_users": int(train_U.sum())}
            | {f"known {name}": v.size - 2 for name, v in vocabularies.items()},
            "left_out": {"users with one event, which have no history": int((count_U == 1).sum())},
            "unknown": {
                "events with an item that training never saw": int((events[item] == UNKNOWN).sum()),
                "positives": {
                    name: int((s.candidate[item][:, 0] == UNKNOWN).sum()) for name, s in splits.items() if s.candidate
                },
            },
        },
        offsets=offsets,
        events=events,
        time_E=time_E,
        users=users,
        splits=splits,
        vocab={name: v.frame for name, v in vocabularies.items()},
        user_values=pd.Series(user_values),
        hist_label_E=_hist_labels(frame[hist_label])[order] if hist_label else None,
        force=force,
    )


def _split_users(
    offsets: np.ndarray, user_E: np.ndarray, seed: int, test_fraction: float, valid_fraction: float
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Ends per split, training events [E], training users [U] of the protocol `last`."""
    count_U = np.diff(offsets)
    shuffled = np.random.default_rng(seed).permutation(np.flatnonzero(count_U >= 2))
    test_n = _share(test_fraction, len(shuffled))
    valid_n = _share(valid_fraction, len(shuffled) - test_n)
    test, valid, train = (np.sort(part) for part in np.split(shuffled, [test_n, test_n + valid_n]))
    if not len(train):
        raise ValueError(
            f"prepare: no training users: of {len(shuffled)} users with two events or more, {test_n} test and "
            f"{valid_n} validate; give a longer log or smaller fractions"
        )
    train_U = np.zeros(len(count_U), bool)
    train_U[train] = True
    train_E = train_U[user_E]
    first_E = np.zeros(len(user_E), bool)
    first_E[offsets[:-1]] = True
    ends = {name: offsets[users + 1] - 1 for name, users in (("train", train), ("valid", valid), ("test", test))}
    ends["train_all"] = np.flatnonzero(train_E & ~first_E)
    return ends, train_E, train_U


def _leave_one_out(offsets: np.ndarray, user_E: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Ends per split, training events [E], users [U] with a training sample, of the protocol `all`."""
    row_E = np.arange(len(user_E))
    index_E, left_E = row_E - offsets[user_E], offsets[user_E + 1] - 1 - row_E
    train_E = left_E >= 2
    ends = {
        "train": np.flatnonzero((index_E >= 1) & train_E),
        "valid": np.flatnonzero((index_E >= 1) & (left_E == 1)),
        "test": np.flatnonzero((index_E >= 1) & (left_E == 0)),
    }
    if not len(ends["train"]):
        raise ValueError(
            "prepare: no training samples: protocol 'all' trains on users with at least 4 events; use 'last'"
        )
    return ends, train_E, np.diff(offsets) >= 4


def _share(fraction: float, n: int) -> int:
    return max(1, round(fraction * n)) if fraction and n else 0


def _with_candidates(
    user_N: np.ndarray,
    end_N: np.ndarray,
    events: dict[str, np.ndarray],
    item_E: np.ndarray,
    negatives: Negatives,
    number: int,
) -> Samples:
    # Streams beyond those of training: a training run with the same seed does not meet the same draws.
    stream = CANDIDATE + 1 + number
    negative_N1 = negatives.draw(0, stream, user_N, user_N, np.zeros((1, 1), np.int64), item_E[end_N][:, None])
    row_NK = np.concatenate([end_N[:, None], negative_N1], axis=1)
    label_NK = np.tile(np.array([1, 0], np.float32), (len(end_N), 1))
    return Samples(user_N, end_N, {name: column[row_NK] for name, column in events.items()}, label_NK)


def _schema(vocabularies: dict[str, Vocabulary], behaviours: tuple[str, ...], users: tuple[str, ...]) -> Schema:
    return Schema(
        tables=tuple(Table(name, v.size, digest=v.digest) for name, v in vocabularies.items()),
        behaviours=tuple(Behaviour(name) for name in behaviours),
        sparse=tuple(Sparse(name, of="user") for name in users),
    )


def _check(frame: pd.DataFrame, columns: list[str], protocol: str, seed: int, test: float, valid: float) -> None:
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"prepare: frame is a {type(frame).__name__}; expected a pandas DataFrame")
    if protocol not in get_args(Protocol):
        raise ValueError(f"prepare: protocol={protocol!r}; {nearest(str(protocol), get_args(Protocol))}")
    if seed < 0:
        raise ValueError(f"prepare: seed={seed}; expected an integer >= 0")
    for name, fraction in (("test_fraction", test), ("valid_fraction", valid)):
        if not 0 <= fraction < 1:
            raise ValueError(f"prepare: {name}={fraction}; expected at least 0 and below 1")
    known = [str(c) for c in frame.columns]
    for name in columns:
        if known.count(name) != 1:
            problem = "stands more than once" if name in known else "is missing"
            raise ValueError(f"prepare: column {name!r} {problem} in the log; {nearest(name, known)}")
        if columns.count(name) > 1:
            raise ValueError(f"prepare: column {name!r} is given two roles; give each column one")
    if frame.empty:
        raise ValueError("prepare: the log has no events")


def _required_codes(column: pd.Series) -> tuple[np.ndarray, pd.Index]:
    code_E, values = codes(column)
    if (code_E < 0).any():
        raise ValueError(
            f"prepare: column {column.name!r} is missing in {int((code_E < 0).sum())} rows, first in row "
            f"{int(np.argmax(code_E < 0))}; expected a value in every row: drop those rows"
        )
    return code_E, values


def _times(column: pd.Series) -> np.ndarray:
    """Times [E] as int64 or float64; dates become seconds since 1970."""
    parsed = column
    if not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_datetime64_any_dtype(column)):
        parsed = pd.to_numeric(column, errors="coerce")
        if parsed.isna().all():
            parsed = pd.to_datetime(column, errors="coerce", utc=True, format="mixed")
    if pd.api.types.is_datetime64_any_dtype(parsed):
        parsed = (pd.to_datetime(parsed, utc=True) - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
    is_float = pd.api.types.is_float_dtype(parsed) or parsed.isna().any()
    time_E = parsed.to_numpy(np.float64, na_value=np.nan) if is_float else parsed.to_numpy(np.int64)
    if not np.isfinite(time_E).all():
        row = int(np.argmin(np.isfinite(time_E)))
        raise ValueError(
            f"prepare: time column {column.name!r} holds {str(column.iloc[row])!r} in row {row}, and "
            f"{int((~np.isfinite(time_E)).sum())} such rows; expected a number or a date in every row"
        )
    return time_E


def _hist_labels(column: pd.Series) -> np.ndarray:
    label_E = pd.to_numeric(column, errors="coerce").to_numpy(np.float32, na_value=np.nan)
    bad = ~((label_E >= 0) & (label_E <= 1))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"prepare: hist_label column {column.name!r} holds {str(column.iloc[row])!r} in row {row}; expected 0 to 1"
        )
    return label_E


def _per_user(name: str, code_E: np.ndarray, offsets: np.ndarray, user_values: pd.Index) -> np.ndarray:
    code_U = code_E[offsets[:-1]]
    changed = np.flatnonzero(code_E != np.repeat(code_U, np.diff(offsets)))
    if len(changed):
        u = int(np.searchsorted(offsets, changed[0], side="right")) - 1
        raise ValueError(
            f"prepare: user attribute {name!r} changes within user {user_values[u]!r}; expected one value per user: "
            "name it in attributes instead"
        )
    return code_U
