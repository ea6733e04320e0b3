"""Probabilities for raw values as they stand in the log: a table of histories and candidates, scored."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dienjax.data.arrays import PaddedArrays
from dienjax.data.histories import windows
from dienjax.data.loader import Loader
from dienjax.data.split import StoreSplit
from dienjax.data.store import Store
from dienjax.serving.encoding import Encode, encoders
from dienjax.serving.raw_columns import Encoded
from dienjax.serving.rows import encoded_rows
from dienjax.training.calibration import Method, Scale, fit_scale
from dienjax.training.config import DataConfig
from dienjax.training.evaluation import eval_loader, score, store_split
from dienjax.training.metrics import sigmoid
from dienjax.training.placed import eval_step
from dienjax.training.run import Run

MANY = 100_000
"""Candidates beyond which no table is padded to powers of two: scoring the padding would take longer than compiling."""


def predict(
    run: Run | str | Path,
    frame: pd.DataFrame,
    calibrate: Method | None = None,
    store: Store | str | Path | None = None,
) -> pd.DataFrame:
    """The frame with a column `probability` (regression: `prediction`).

    For each field `f` of an event, such as the item: `hist_f` holds a list of values per row, oldest first (the most
    recent `data.max_len`, or those that the channels keep, are used), and `f` the candidate's, or a list of
    candidates', which then gets a list of probabilities. User and context features stand under their names. Values are
    those of the log the run was trained on, read as `dienjax.serving.Ranker` reads them; None, and a value it never
    saw, count as unknown. A run trained on ready-made ids takes ids, except where a table is hashed or has edges.

    A set, such as tags, is a list where other fields have a value: `hist_tags` holds lists of lists, and so does `tags`
    where a row has several candidates; None is an empty set. A number that was standardised may be None or NaN,
    missing, in a list too.

    What pandas marks as missing is None too, and so is NaN in a column of floats or objects, which have no other word
    for it. NaN in a list of other values is an error, and so is a float beyond 2**53 where the log held whole numbers:
    it may stand for several; a column of type Int64 holds both.

    Tables of similar size share their compiled programs: rows, candidates and histories are padded to powers of two, at
    most `data.batch_size` rows and `data.max_len` behaviours, or to the lengths in `data.lengths`. A table of more than
    100,000 candidates is padded no further than it needs, and may compile anew.

    Args:
      calibrate: scale the probabilities as `dienjax.training.calibration` fits it on the run's validation split, in
        which they then add up to the positives. Where negatives were sampled, their share there is meant, not that of a
        service.
      store: event store of that split; the one the run was trained on if left out.

    Raises:
      ValueError: a column that is missing (with the nearest names), lists of different lengths in one row, no
        candidate, values of another type than the log's, NaN, a number that is not finite; or `calibrate` on a
        regression, a run without a validation split, another store, or a split that it cannot be fitted on.
      FileNotFoundError: `calibrate`, and the store has moved.
    """
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"predict: the table is of type {type(frame).__name__}; expected a pandas DataFrame")
    name, value_M, length_N = _predictions(run, frame, calibrate, store)
    if length_N is None:
        return frame.assign(**{name: value_M})
    lists = [part.tolist() for part in np.split(value_M, np.cumsum(length_N)[:-1])]
    return frame.assign(**{name: pd.Series(lists, frame.index)})


def _predictions(
    run: Run | str | Path, table: pd.DataFrame, calibrate: Method | None, store: Store | str | Path | None
) -> tuple[str, np.ndarray, np.ndarray | None]:
    """What the run predicts is called, the predictions for all candidates, and how many of them each row has."""
    run = run if isinstance(run, Run) else Run.open(run)
    arrays, length_N = table_arrays(run, table, few_shapes=True)
    variables = run.variables()
    name, scale = prediction_of_logits(run, variables, calibrate, store)
    logit_M, _ = logits_and_labels(run, variables, _loader(run, PaddedArrays(run.schema, arrays)))
    return name, scale(logit_M), length_N


def prediction_of_logits(
    run: Run, variables: dict[str, Any], calibrate: Method | None, store: Store | str | Path | None
) -> tuple[str, Scale]:
    """What the run predicts is called, and how a prediction follows from a logit."""
    if store and not calibrate:
        raise ValueError("predict: only `calibrate` reads the store; leave the store out, or calibrate")
    data = run.config.data
    if calibrate:
        valid = eval_loader(_validation(run, store), data.batch_size, data.lengths)
        return "probability", fit_scale(calibrate, *logits_and_labels(run, variables, valid))
    if run.config.loss.task == "regression":
        return "prediction", lambda logit: logit
    return "probability", sigmoid


def logits_and_labels(run: Run, variables: dict[str, Any], loader: Loader) -> tuple[np.ndarray, np.ndarray]:
    """The logits and labels [M] of the M real candidates of a loader's samples, in their order."""
    scores = score(eval_step(run.model), variables, loader)
    return scores.logit_NK[scores.mask_NK], scores.label_NK[scores.mask_NK]


def _validation(run: Run, store: Store | str | Path | None) -> StoreSplit:
    """The split that the run was validated on."""
    if run.config.loss.task == "regression":
        raise ValueError(f"calibrate: {run.path} is a regression; its predictions are no probabilities: leave it out")
    if not run.config.data.valid:
        raise ValueError(f"calibrate: {run.path} was trained without a validation split (data.valid); leave it out")
    store = store if isinstance(store, Store) else Store.open(store) if store else run.store()
    run.check_schema(store.schema, f"the store {store.path}")
    store.verify()
    return store_split(run.config, store, run.config.data.valid)


def _loader(run: Run, dataset: PaddedArrays) -> Loader:
    """Batches of few shapes, so that other tables have the same."""
    data, lengths = replace(run.config.data, max_len=run.max_len), run.config.data.lengths
    if masks_padding(run) and np.count_nonzero(dataset.mask_NK) <= MANY:
        lengths = few_lengths(data, max(1, int(dataset.length_N.max())))
    return eval_loader(dataset, min(data.batch_size, power_of_two(len(dataset.length_N))), lengths)


def masks_padding(run: Run) -> bool:
    """Whether a logit is the same however far its history is padded."""
    return getattr(run.model, "padding", "masked") == "masked"


def few_lengths(data: DataConfig, longest: int) -> tuple[int, ...]:
    """As many powers of two as `data.lengths` says, the last for the longest history; or the lengths that it lists."""
    powers = [min(2**n, data.max_len) for n in range((longest - 1).bit_length() + 1)]
    if isinstance(data.lengths, int):
        return tuple(powers[-data.lengths :])
    return data.lengths if longest <= max(data.lengths) else (*data.lengths, powers[-1])


def power_of_two(n: int) -> int:
    """The smallest power of two from n on."""
    return 1 << (n - 1).bit_length()


def run_encoders(run: Run) -> dict[str, Encode]:
    """How the values of each field of the run are encoded, by name."""
    return encoders(
        run.schema, lambda t: run.vocabulary(t)["value"].tolist() if run.has_vocabulary else None, np.dtype(np.int32)
    )


def table_arrays(
    run: Run, table: pd.DataFrame, few_shapes: bool = False
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """The columns that `PaddedArrays` takes, as ids, and how many candidates each row has (None: one, no list).

    With `few_shapes` up to `MANY` candidates are padded to a power of two a row.
    """
    if not len(table):
        raise ValueError("predict: the table has no rows; expected at least one")
    rows = encoded_rows(run.schema, run_encoders(run), table)
    T = min(max(1, int(rows.length_N.max())), run.max_len)
    K = int(rows.count_N.max())
    if few_shapes and rows.count_N.sum() <= MANY:
        K = power_of_two(K)
    arrays = {column.name: _padded(column, T) for column in rows.history}
    arrays |= {column.name: _padded(column, K) for column in (*rows.user, *rows.candidate)}
    return arrays, rows.candidate[0].length_N


def _padded(column: Encoded, most: int) -> np.ndarray:
    """[N, ...], or where rows hold lists [N, most, ...]: the last values of each, right-padded."""
    if column.length_N is None:
        return column.value_M
    return cut(column, column.end_N - column.length_N, column.end_N, most)


def cut(column: Encoded, start_B: np.ndarray, end_B: np.ndarray, most: int) -> np.ndarray:
    """[B, most, ...]: the last of the values from start to end, right-padded with 0."""
    if not len(column.value_M):
        return np.zeros((len(end_B), most, *column.value_M.shape[1:]), column.value_M.dtype)
    return windows(column.value_M, start_B, end_B, most)
