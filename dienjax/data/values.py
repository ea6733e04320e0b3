"""The Parquet files of values in a store or a run, read only if they are as they were written."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import pandas as pd


def read_values(folder: Path, name: str, digests: Mapping[str, str] | None) -> pd.DataFrame:
    """The table in a file of `folder`, checked against its SHA-256 in `digests` (None: an old folder without manifest).

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is damaged.
    """
    data = (folder / name).read_bytes()
    if digests is not None and hashlib.sha256(data).hexdigest() != digests.get(name):
        raise ValueError(f"{folder / name} is damaged: its SHA-256 is not that of {folder / 'manifest.json'}")
    try:
        frame = pd.read_parquet(io.BytesIO(data))
    except Exception as error:  # Arrow and pandas raise errors of many types for a damaged file
        raise ValueError(f"{folder / name} cannot be read ({error}): it is damaged") from error
    if "value" not in frame.columns:
        raise ValueError(f"{folder / name} has the columns {list(frame.columns)}; expected 'value' among them")
    return frame
