"""Probabilities for raw values as they stand in the log: a table of histories and candidates, scored."""

from pathlib import Path

import numpy as np
import pandas as pd

from dienjax.data.arrays import PaddedArrays
from dienjax.errors import nearest
from dienjax.evaluation import eval_loader, score
from dienjax.files import new_file
from dienjax.run import Run
from dienjax.schema import FIRST_ID, PADDING, UNKNOWN
from dienjax.train import make_eval_step


def predict(run: Run | str | Path, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with a column `probability` (regression: `prediction`).

    For each behaviour `b` of the run: `hist_b` holds a list of values per row, oldest first (the most recent
    `data.max_len` are used), and `b` the candidate, or a list of candidates, which then gets a list of probabilities.
    User and context features stand under their names. Values are those of the log the run was trained on; a value it
    never saw counts as unknown. A run trained on ready-made ids takes ids.

    Raises:
      ValueError: a column that is missing (with the nearest names), lists of different lengths in one row, values of
        another type than the log's.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    arrays = _encode(run, frame)
    loader = eval_loader(PaddedArrays(run.schema, arrays), run.config.data.batch_size, run.config.data.lengths)
    scores = score(make_eval_step(run.model), run.variables(), loader)
    binary = run.config.loss.task == "binary"
    value_NK = np.exp(-np.logaddexp(0, -scores.logit_NK)) if binary else scores.logit_NK
    name = "probability" if binary else "prediction"
    if not _holds_lists(frame[run.schema.item]):
        return frame.assign(**{name: value_NK[:, 0]})
    lists = [row[mask].tolist() for row, mask in zip(value_NK, scores.mask_NK, strict=True)]
    return frame.assign(**{name: pd.Series(lists, frame.index)})


def predict_file(run: str | Path, source: str | Path, target: str | Path, force: bool = False) -> int:
    """Writes the predictions for a Parquet file to another, whole or not at all; returns the number of rows."""
    if Path(target).exists() and not force:
        raise FileExistsError(f"{target} already exists; choose another name, or use --force to replace it")
    if not Path(source).is_file():
        raise FileNotFoundError(f"no file {str(source)!r}; expected a Parquet file of histories and candidates")
    frame = predict(run, pd.read_parquet(source))
    with new_file(target) as temporary:
        frame.to_parquet(temporary, index=False)
    return len(frame)


def _encode(run: Run, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """The columns that `PaddedArrays` takes, as ids."""
    schema = run.schema
    if frame.empty:
        raise ValueError("predict: the table has no rows; expected at least one")
    for name in [f"hist_{b.name}" for b in schema.behaviours] + schema.field_names:
        if name not in frame.columns:
            raise ValueError(f"predict: column {name!r} is missing; {nearest(name, map(str, frame.columns))}")
    arrays: dict[str, np.ndarray] = {}
    tables = {t.name for t in schema.tables} if run.has_vocabulary else set()
    known = {table: pd.Index(run.vocabulary(table)["value"]) for table in tables}
    for field in schema.id_fields:
        arrays[field.name] = _ids(known.get(field.table), frame[field.name])
    for dense in schema.dense:
        flat, length_N = _flat(frame[dense.name])
        arrays[dense.name] = flat.to_numpy(np.float32) if length_N is None else _padded(flat, length_N, np.float32)
    max_len = run.config.data.max_len
    for b in schema.behaviours:
        recent = frame[f"hist_{b.name}"].map(lambda values: [] if values is None else list(values)[-max_len:])
        arrays[f"hist_{b.name}"] = _ids(known.get(b.table), recent)
    for prefix, what in (("", "candidates"), ("hist_", "behaviours")):
        _check_lengths([f"{prefix}{b.name}" for b in schema.behaviours], arrays, what)
    return arrays


def _ids(known: pd.Index | None, column: pd.Series) -> np.ndarray:
    """Ids [N], or [N, L] right-padded where the column holds lists; without known values they are ids already."""
    flat, length_N = _flat(column)
    if known is not None and len(flat):
        if pd.api.types.is_numeric_dtype(known) != pd.api.types.is_numeric_dtype(flat):
            raise ValueError(
                f"predict: column {column.name!r} holds values such as {flat.iloc[0]!r}, but the log of the run held "
                f"values such as {known[0]!r}; convert the column to the log's type"
            )
        at = known.get_indexer(pd.Index(flat))
        flat = pd.Series(np.where(at >= 0, at + FIRST_ID, UNKNOWN))
    return flat.to_numpy() if length_N is None else _padded(flat, length_N, np.int64)


def _holds_lists(column: pd.Series) -> bool:
    return column.dtype == object and isinstance(column.iloc[0], list | tuple | np.ndarray)


def _flat(column: pd.Series) -> tuple[pd.Series, np.ndarray | None]:
    """All values one after the other, and how many stand in each row (None: one each)."""
    if not _holds_lists(column):
        return column, None
    flat = [value for row in column for value in row]
    return pd.Series(flat, dtype=None if flat else np.int64), column.map(len).to_numpy()


def _padded(flat: pd.Series, length_N: np.ndarray, dtype: type) -> np.ndarray:
    mask_NL = np.arange(max(1, length_N.max())) < length_N[:, None]
    padded_NL: np.ndarray = np.full(mask_NL.shape, PADDING, dtype)
    padded_NL[mask_NL] = flat
    return padded_NL


def _check_lengths(names: list[str], arrays: dict[str, np.ndarray], what: str) -> None:
    """Raises ValueError where a row has more of one behaviour field than of another."""
    first, *others = names
    for name in others:
        if arrays[name].shape != arrays[first].shape or ((arrays[name] != 0) != (arrays[first] != 0)).any():
            raise ValueError(
                f"predict: {name!r} and {first!r} do not hold equally many values in every row; expected one value of "
                f"each for all {what} of a row"
            )
