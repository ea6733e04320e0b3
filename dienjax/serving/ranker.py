"""Scores candidates for a user with an exported model: raw values in, probabilities out."""

import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dienjax.inputs.channels import kept
from dienjax.schema import Dense, Field, Schema, shaped
from dienjax.serving.encoding import Encode, encode_lists, encode_values, encoders
from dienjax.serving.folder import GRAPHS, Export, read_export
from dienjax.serving.scorer import Arrays, Scorer
from dienjax.serving.session import open_session
from dienjax.serving.times import NOW, TIME, time_ids, times

if TYPE_CHECKING:
    import pyarrow as pa

    from dienjax.serving.raw_columns import Place

Group = Mapping[str, Any]
"""Values by field name."""


class Ranker:
    """An exported model that scores candidates; threads may share one.

    `history` and `candidates` hold a list of values for each field of an event, the history's oldest first. Features of
    the candidates stand beside them, a list each; `user` holds one value for each feature of the user. Values are those
    of the log that the model was trained on; None, and a value it never saw, count as unknown. A model trained on
    ready-made ids takes ids, except where a table is hashed or has edges.

    Of a set, such as tags, a value is itself a list, in any order; None is empty. A number that was standardised may be
    None or NaN, missing.

    A model with fields of time needs `now`, and the times of the history beside its behaviours, as `time`: numbers in
    the unit of the log, seconds since 1970 if that had dates.

    The history is encoded once and remembered, so that the same user's next candidates cost less; with fields of
    time until one of them changes its bucket.

    Args:
      folder: what `dienjax export` wrote.
      threads: how many threads share the candidates of a call, at least 50 each; more than 1 pays off if fewer calls
        come at once than there are cores.
      cached_users: how many users to remember, the most recently used; 0 for none.

    Raises:
      FileNotFoundError: `folder` is not an export, or lacks a file.
      ValueError: a file is damaged, or an argument is out of range.
      ModuleNotFoundError: onnxruntime is not installed.
    """

    def __init__(self, folder: str | Path, threads: int = 1, cached_users: int = 1000) -> None:
        for name, value, least in (("threads", threads, 1), ("cached_users", cached_users, 0)):
            if value < least:
                raise ValueError(f"Ranker: {name} is {value}; expected at least {least}")
        self._export = read_export(folder)
        encoder, scorer = (self._export.folder / name for name in GRAPHS)
        self._scorer = Scorer(scorer, threads)
        self._history, self._candidates, self._user = _fields(self._export)
        inputs = _inputs(self._export)
        self._encode_rows = _encoder(open_session(encoder))
        self._encode = lru_cache(cached_users)(_of_bytes(self._encode_rows, inputs))

    @property
    def schema(self) -> Schema:
        """The fields that a request has, and their tables."""
        return self._export.schema

    @property
    def task(self) -> str:
        """What a score is: a probability for "binary", a prediction of the label for "regression"."""
        return self._export.task

    @property
    def max_len(self) -> int:
        """How many events of a history the model reads, the most recent; of channels together."""
        return self._export.max_len

    def __repr__(self) -> str:
        history, candidates, user = map(list, (self._history, self._candidates, self._user))
        name = f"{str(self._export.folder)!r}, {self.task}"
        return f"Ranker({name}: {history=} of up to {self.max_len}, {candidates=}, {user=})"

    def score(
        self, history: Group, candidates: Group, user: Group | None = None, now: float | None = None
    ) -> np.ndarray:
        """The probability (regression: the prediction) of each candidate, float32 [K].

        Raises:
          ValueError: a field is missing, unknown or of another length than its neighbours, there is no candidate, or a
            number is not finite.
          TypeError: a value is of another type than the log's, or one value stands where a list belongs.
        """
        return self._score(history, candidates, user, now)

    def top(
        self, n: int, history: Group, candidates: Group, user: Group | None = None, now: float | None = None
    ) -> list[tuple[int, float]]:
        """The best n candidates as (position among the candidates, score), best first; equal scores by position.

        If there are fewer than n candidates, all are returned. Raises as `score`, and ValueError for n below 1.
        """
        if n < 1:
            raise ValueError(f"Ranker.top: n is {n}; expected at least 1")
        score_K = self._score(history, candidates, user, now)
        return [(int(k), float(score_K[k])) for k in np.argsort(-score_K, kind="stable")[:n]]

    def score_table(self, table: "pa.Table", place: "Place | None" = None) -> "pa.Array":
        """The probability (regression: the prediction) of each row of an Arrow table, float32.

        For each field `f` of an event the column `hist_f` holds a list per row, oldest first (the most recent `max_len`
        are used), and `f` the candidate's, or a list of candidates', which then gets a list of probabilities. Features
        stand under their names. A set is a list where others have a value. It is what `dienjax predict` says of the
        same rows, to 1e-6. No user is remembered.

        Args:
          place: where the rows come from, for error messages.

        Raises:
          ValueError: a column is missing or holds values of another type than the log's, a row has no candidate or
            lists of different lengths, or a number is not finite; with the row.
          ModuleNotFoundError: pyarrow is not installed.
        """
        try:
            import pyarrow as pa
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("tables need pyarrow, which is not installed: pip install pyarrow") from error
        from dienjax.serving.raw_columns import Place
        from dienjax.serving.rows import encoded_rows
        from dienjax.serving.table import row_scores

        place = place or Place("Ranker.score_table")
        rows = encoded_rows(self.schema, self._candidates | self._user, table, place)
        score_M = row_scores(rows, self.max_len, self._encode_rows, self._scorer)
        if not rows.lists:
            return pa.array(score_M)
        return pa.ListArray.from_arrays(np.append(0, np.cumsum(rows.count_N)).astype(np.int32), score_M)

    def _score(self, history: Group, candidates: Group, user: Group | None, now: float | None) -> np.ndarray:
        """The scores, for `score` and `top`: equally deep in the stack, so that the warning names the caller's line."""
        hist_T = encode_lists("history", history, self._history)
        if self.schema.channels:
            type_T = hist_T[self.schema.type]
            kept_T = kept(self.schema, type_T, np.array([len(type_T)]))
            hist_T = {name: array_T[kept_T] for name, array_T in hist_T.items()}
        candidate_K = encode_lists("candidates", candidates, self._candidates)
        user_1 = encode_values("user", {} if user is None else user, self._user)
        if not len(candidate_K[self.schema.item]):
            raise ValueError("candidates: every list is empty; expected at least one candidate")
        self._add_times(hist_T, candidate_K, now)
        if len(hist_T[self.schema.item]) > self.max_len:
            warnings.warn(  # always in the same words, or Python would show it for every length anew
                f"a history is longer than the {self.max_len} events that the model reads; the most recent are used: "
                "pass only those, oldest first",
                stacklevel=3,
            )
        recent_T = (array_T[-self.max_len :] for array_T in hist_T.values())
        states = self._encode(*(array.tobytes() for array in (*recent_T, *user_1.values())))
        return self._scorer(states, {name: array_K[None] for name, array_K in candidate_K.items()})[0]

    def _add_times(self, hist_T: dict[str, np.ndarray], candidate_K: dict[str, np.ndarray], now: float | None) -> None:
        """Put the fields of time in the place of the history's times."""
        if not self.schema.time_fields:
            if now is not None:
                raise ValueError("now: the model has no field of time; leave it out")
            return
        now_1, time_T = times(lambda _: NOW, [now]), hist_T.pop(TIME)
        length_1 = np.array([len(time_T)])
        history, of_now = time_ids(self.schema, time_T, length_1, now_1, lambda _: "history", self._export.ids)
        hist_T |= history
        K = len(candidate_K[self.schema.item])
        candidate_K |= {name: np.repeat(id_1, K) for name, id_1 in of_now.items()}


def _fields(export: Export) -> tuple[dict[str, Encode], dict[str, Encode], dict[str, Encode]]:
    """How the fields of the history, of the candidates and of the user are encoded, by name."""
    schema = export.schema
    encode = encoders(schema, export.vocabulary, export.ids)
    history, candidates, user = (
        {field.name: encode[field.name] for field in fields}
        for fields in (schema.stored_fields, schema.side("candidate"), schema.side("user"))
    )
    of_time = {TIME: times} if schema.time_fields else {}
    return history | of_time, history | candidates, user


def _inputs(export: Export) -> dict[str, tuple[np.dtype, tuple]]:
    """Dtype and shape of the user encoder's inputs for one user, the history's first, by name."""

    def of_field(field: Field, *axes: int) -> tuple[np.dtype, tuple]:
        shape, dtype = shaped(field, *axes)
        return np.dtype(dtype) if isinstance(field, Dense) else export.ids, shape

    schema = export.schema
    history = {f"hist_{f.name}": of_field(f, 1, -1) for f in (*schema.stored_fields, *schema.time_fields)}
    return history | {f.name: of_field(f, 1) for f in schema.side("user")}


def _encoder(session: Any) -> Callable[[Arrays], Arrays]:
    outputs = [output.name for output in session.get_outputs()]
    return lambda feed: dict(zip(outputs, session.run(None, feed), strict=True))


def _of_bytes(
    encode: Callable[[Arrays], Arrays], inputs: Mapping[str, tuple[np.dtype, tuple]]
) -> Callable[..., Arrays]:
    """The user encoder as a function of its inputs' bytes: two users are the same where all of these are.

    Args:
      inputs: dtype and shape by name.
    """

    def of_bytes(*data: bytes) -> Arrays:
        return encode(
            {
                name: np.frombuffer(array, dtype).reshape(shape)
                for array, (name, (dtype, shape)) in zip(data, inputs.items(), strict=True)
            }
        )

    return of_bytes
