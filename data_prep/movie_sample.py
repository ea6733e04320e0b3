"""movie_sample.txt as the log from which its ready-made histories were cut."""

import numpy as np
import pandas as pd

COLUMNS = ("user", "gender", "age", "history", "length", "movie", "type", "label")
CUT = 50
"""The file lists this many movies of a history, padded with 0."""


def read_sample(content: bytes, name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Events (user, movie, type, time, gender, age) and impressions (the same, and label) that reproduce its rows.

    Rows of one user and history length are the candidates of one moment. A user's log is their shortest history, and
    then the positive candidates by the length of their history. Time is the position in that log over the number of the
    user's positives, so that a cut in time takes the last part of every user.

    A row lists its history most recent first, and only the oldest 50 of a longer one. The log has them all.

    Raises:
      ValueError: a line that cannot be read, or whose history is not the log before it.
    """
    rows = _rows(content, name)
    logs = [_log(of_user, name) for _, of_user in rows.groupby("user", sort=False)]
    positives = rows.groupby("user")["label"].transform("sum")
    profile = rows.groupby("user", as_index=False)[["gender", "age"]].first()
    types = rows.groupby("movie", as_index=False)["type"].first()
    events = pd.concat(logs).merge(types, "left", "movie").merge(profile, "left", "user")
    columns = ["user", "movie", "type", "time", "gender", "age"]
    return events[columns], rows.assign(time=rows["length"] / positives)[[*columns, "label"]]


def _log(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """The log of the one user whose rows these are, if it gives each of their histories and positives."""
    rows = rows.sort_values("length", kind="stable")
    columns = {column: rows[column].tolist() for column in ("user", "history", "length", "movie", "label")}
    start = columns["history"][0][: columns["length"][0]]
    log = [*reversed(start), *rows.loc[rows["label"] == 1, "movie"].tolist()]
    for line, user, history, length, movie, label in zip(rows.index, *columns.values(), strict=True):
        expected = log[: min(length, CUT)][::-1]
        expected += [0] * (CUT - len(expected))
        if history != expected or (label == 1 and log[length : length + 1] != [movie]):
            raise ValueError(
                f"{name}, line {line}: user {user} has history {str(history)[:40]} of length {length}, movie {movie}; "
                f"expected history {str(expected)[:40]}: the shortest one and then the positives, most recent first, "
                "and one positive at each length"
            )
    return pd.DataFrame({"user": columns["user"][0], "movie": log, "time": np.arange(len(log)) / rows["label"].sum()})


def _rows(content: bytes, name: str) -> pd.DataFrame:
    """The columns of the file by line number (from 1); a history is a list of movies."""
    rows = []
    for number, line in enumerate(content.decode("latin-1").splitlines(), 1):
        try:
            user, gender, age, history, *rest = line.split("\t")
            values = [int(user), int(gender), int(age), [int(movie) for movie in history.split(",")], *map(int, rest)]
            rows.append(dict(zip(COLUMNS, values, strict=True)))
        except ValueError as error:
            raise ValueError(
                f"{name}, line {number}: {line[:80]!r} cannot be read ({error}); expected tab separated whole numbers "
                f"{', '.join(COLUMNS)}, with commas between the movies of the history"
            ) from error
    if not rows:
        raise ValueError(f"{name} is empty; expected lines of {', '.join(COLUMNS)}, tab separated")
    return pd.DataFrame(rows, index=range(1, len(rows) + 1))
