"""Probabilities for raw values as they stand in the log: a table of histories and candidates, scored."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dienjax.data.arrays import PaddedArrays
from dienjax.data.histories import windows
from dienjax.data.loader import Loader
from dienjax.data.split import StoreSplit
from dienjax.data.store import Store, side
from dienjax.serving.encoding import encoders
from dienjax.storage.files import new_file
from dienjax.training.calibration import Method, Scale, fit_scale
from dienjax.training.config import DataConfig
from dienjax.training.evaluation import eval_loader, score, store_split
from dienjax.training.placed import eval_step
from dienjax.training.raw_columns import Encoded, encoded, holds_lists, raw_columns
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

    For each behaviour `b` of the run: `hist_b` holds a list of values per row, oldest first (the most recent
    `data.max_len` are used), and `b` the candidate, or a list of candidates, which then gets a list of probabilities.
    User and context features stand under their names. Values are those of the log the run was trained on, read as
    `dienjax.serving.Ranker` reads them; None, and a value it never saw, count as unknown. A run trained on ready-made
    ids takes ids.

    What pandas marks as missing is None too, and so is NaN in a column of floats or objects, which have no other word
    for it. NaN in a list is an error, and so is a float beyond 2**53 where the log held whole numbers: it may stand for
    several; a column of type Int64 holds both.

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


def predict_file(
    run: str | Path,
    source: str | Path,
    target: str | Path,
    force: bool = False,
    calibrate: Method | None = None,
    store: str | Path | None = None,
) -> int:
    """Write the predictions for a Parquet file to another, whole or not at all, and return the number of rows.

    Every column of the file is in the other as it was; the other arguments are those of `predict`.

    Raises:
      ValueError: as `predict`, or a file that is damaged or no Parquet.
      OSError: no such file, or the other cannot be written.
    """
    source, target = Path(source), Path(target)
    if target.exists() and not force:
        raise FileExistsError(f"{target} already exists; choose another name, or use --force to replace it")
    if target.is_dir() or not target.parent.is_dir():
        raise FileNotFoundError(f"{target} cannot be written; expected the name of a file in a folder that exists")
    table = _read(source)
    name, value_M, length_N = _predictions(run, table, calibrate, store)
    values = pa.array(value_M)
    if length_N is not None:
        values = pa.LargeListArray.from_arrays(np.append(0, np.cumsum(length_N)), values)
    if name in table.column_names:
        table = table.drop_columns(name)
    with new_file(target) as temporary:
        try:
            pq.write_table(table.append_column(name, values), temporary)
        except OSError as error:
            raise OSError(error.errno, f"{target} cannot be written, nothing new is there ({error})") from error
    return len(table)


def _read(source: Path) -> pa.Table:
    if not source.is_file():
        raise FileNotFoundError(f"no file {str(source)!r}; expected a Parquet file of histories and candidates")
    try:
        table = pq.read_table(source, page_checksum_verification=True)
        table.validate(full=True)
    except PermissionError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{source} cannot be read ({reason}); expected a Parquet file of histories and candidates: write it again"
        ) from error
    return table


def _predictions(
    run: Run | str | Path, table: pd.DataFrame | pa.Table, calibrate: Method | None, store: Store | str | Path | None
) -> tuple[str, np.ndarray, np.ndarray | None]:
    """What the run predicts is called, the predictions for all candidates, and how many of them each row has."""
    if store and not calibrate:
        raise ValueError("predict: only `calibrate` reads the store; leave the store out, or calibrate")
    run = run if isinstance(run, Run) else Run.open(run)
    arrays, length_N = table_arrays(run, table, few_shapes=True)
    step, variables = eval_step(run.model), run.variables()

    def logits_and_labels(loader: Loader) -> tuple[np.ndarray, np.ndarray]:
        scores = score(step, variables, loader)
        return scores.logit_NK[scores.mask_NK], scores.label_NK[scores.mask_NK]

    data = run.config.data
    scale: Scale = _sigmoid
    if calibrate:
        valid = eval_loader(_validation(run, store), data.batch_size, data.lengths)
        scale = fit_scale(calibrate, *logits_and_labels(valid))
    logit_M, _ = logits_and_labels(_loader(run, PaddedArrays(run.schema, arrays)))
    if run.config.loss.task == "regression":
        return "prediction", logit_M, length_N
    return "probability", scale(logit_M), length_N


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -logit))


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
    data, lengths = run.config.data, run.config.data.lengths
    masked = getattr(run.model, "padding", "masked") == "masked"  # else the result depends on how far one pads
    if masked and np.count_nonzero(dataset.mask_NK) <= MANY:
        lengths = _lengths(data, max(1, int(dataset.length_N.max())))
    return eval_loader(dataset, min(data.batch_size, _power_of_two(len(dataset.length_N))), lengths)


def _lengths(data: DataConfig, longest: int) -> tuple[int, ...]:
    """As many powers of two as `data.lengths` says, the last for the longest history; or the lengths that it lists."""
    powers = [min(2**n, data.max_len) for n in range((longest - 1).bit_length() + 1)]
    if isinstance(data.lengths, int):
        return tuple(powers[-data.lengths :])
    return data.lengths if longest <= max(data.lengths) else (*data.lengths, powers[-1])


def _power_of_two(n: int) -> int:
    """The smallest power of two from n on."""
    return 1 << (n - 1).bit_length()


def table_arrays(
    run: Run, table: pd.DataFrame | pa.Table, few_shapes: bool = False
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """The columns that `PaddedArrays` takes, as ids, and how many candidates each row has (None: one, no list).

    With `few_shapes` up to `MANY` candidates are padded to a power of two a row.
    """
    if not len(table):
        raise ValueError("predict: the table has no rows; expected at least one")
    schema = run.schema
    history = {f"hist_{b.name}": b.name for b in schema.behaviours}
    raw = raw_columns(table, [*history, *schema.field_names])
    lists = holds_lists(raw[schema.item])
    encode = encoders(
        schema, lambda t: run.vocabulary(t)["value"].tolist() if run.has_vocabulary else None, np.dtype(np.int32)
    )
    behaviours = [encoded(name, raw[name], True, encode[field]) for name, field in history.items()]
    users = [encoded(f.name, raw[f.name], False, encode[f.name]) for f in side(schema, "user")]
    shown = [*schema.behaviours, *side(schema, "candidate")]
    candidates = [encoded(f.name, raw[f.name], lists, encode[f.name]) for f in shown]
    _check_lengths(behaviours, "behaviours")
    _check_lengths(candidates, "candidates")
    item = candidates[0]
    if item.length_N is not None and not item.length_N.all():
        raise ValueError(
            f"predict: row {np.argmin(item.length_N)} of column {item.name!r} has no candidate; expected at least one"
        )
    T = min(_longest(behaviours[0]), run.config.data.max_len)
    K = _power_of_two(_longest(item)) if few_shapes and len(item.value_M) <= MANY else _longest(item)
    arrays = {column.name: _padded(column, T) for column in behaviours}
    return arrays | {column.name: _padded(column, K) for column in (*users, *candidates)}, item.length_N


def _longest(column: Encoded) -> int:
    """The most values of a row, at least 1."""
    return 1 if column.length_N is None else max(1, int(column.length_N.max()))


def _padded(column: Encoded, most: int) -> np.ndarray:
    """[N], or where rows hold lists [N, most]: the last values of each, right-padded."""
    if column.length_N is None:
        return column.value_M
    if not len(column.value_M):
        return np.zeros((len(column.length_N), most), column.value_M.dtype)
    end_N = np.cumsum(column.length_N)
    return windows(column.value_M, end_N - column.length_N, end_N, most)


def _check_lengths(columns: list[Encoded], what: str) -> None:
    """Raises ValueError where a row has more values of one column than of another."""
    first, *others = columns
    for other in others:
        if first.length_N is not None and other.length_N is not None and (first.length_N != other.length_N).any():
            row = int(np.argmax(first.length_N != other.length_N))
            raise ValueError(
                f"predict: {other.name!r} and {first.name!r} do not hold equally many values in every row (row {row}: "
                f"{other.length_N[row]} and {first.length_N[row]}); expected one value of each for all {what} of a row"
            )
