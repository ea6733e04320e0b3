"""Folders of files as one log; names of folders such as day=2026-11-01 (Hive's partitions) give a column."""

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from urllib.parse import unquote

import pyarrow as pa

from dienjax.preparation.files import Source

MISSING = "__HIVE_DEFAULT_PARTITION__"
INT64 = range(-(2**63), 2**63)

Keys = dict[str, str | None]
"""The texts of a file's keys by name; None is a missing value."""


def files_in(folder: str) -> list[tuple[str, Keys]]:
    """The files of a folder and of those in it, by path, each with its keys.

    As in Spark, what begins with a dot is hidden, and what begins with an underline and has no equals sign.

    Raises:
      ValueError: no files, files with different keys, or a key twice in a path.
    """
    paths = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        paths += [os.path.join(parent, name) for name in names if not _is_hidden(name)]
    if not paths:
        raise ValueError(f"folder {folder!r} has no files; expected CSV, TSV or Parquet files in it")
    found = [(path, keys_of(path, folder)) for path in sorted(paths)]
    first, keys = found[0]
    for path, other in found:
        if [*other] != [*keys]:
            raise ValueError(
                f"folder {folder!r} has files with different keys in their paths: {first} has {[*keys]}, {path} has "
                f"{[*other]}; expected the same in all: give the folders apart, or as a glob of files, without keys"
            )
    return found


def keys_of(path: str, folder: str) -> Keys:
    """The keys that the names of a file's folders tell, below `folder`.

    Raises:
      ValueError: a key twice, or one that is not UTF-8.
    """
    keys: Keys = {}
    for part in os.path.relpath(os.path.dirname(path), folder).split(os.sep):
        name, equals, value = part.partition("=")
        if not equals:
            continue
        try:
            name, value = unquote(name, errors="strict"), unquote(value, errors="strict")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path!r} has the key {part!r}, which is not UTF-8 ({error}): rename the folder"
            ) from error
        if name in keys:
            raise ValueError(f"{path!r} has the key {name!r} twice; expected it once: rename a folder")
        keys[name] = None if value in ("", MISSING) else value
    return keys


def key_types(keys: list[Keys]) -> dict[str, pa.DataType]:
    """The type of each key of a folder's files, as pyarrow and Spark see it: int64 if all are whole numbers, else text.

    Dates stay text, which is read as dates where it is the time.
    """
    names = dict.fromkeys(name for of in keys for name in of)
    return {name: _type([of[name] for of in keys if name in of]) for name in names}


def key_value(value: str | None, type: pa.DataType) -> pa.Scalar:
    """The value of a key as one of the type that `key_types` tells."""
    return pa.scalar(value if value is None or pa.types.is_string(type) else int(value), type)


def with_keys(source: Source, keys: Keys, types: dict[str, pa.DataType]) -> Source:
    """A table with its keys as further columns.

    Raises:
      ValueError: the table has a column of that name.
    """
    for name in keys:
        if name in source.types:
            raise ValueError(
                f"{source.name!r} has a column {name!r}, and so does its path; expected one of them: rename the folders"
            )
    values = {name: key_value(value, types[name]) for name, value in keys.items()}
    parts = source.parts
    return replace(
        source,
        types=source.types | types,
        batches=partial(_read, source, values),
        parts=parts and (lambda: [with_keys(part, keys, types) for part in parts()]),
    )


def _read(source: Source, keys: dict[str, pa.Scalar], wanted: list[str]) -> Iterator[pa.RecordBatch]:
    for batch in source.batches([name for name in wanted if name not in keys]):
        columns = [pa.repeat(keys[name], len(batch)) if name in keys else batch.column(name) for name in wanted]
        yield pa.RecordBatch.from_arrays(columns, wanted)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _type(values: list[str | None]) -> pa.DataType:
    known = [value for value in values if value is not None]
    whole = all(re.fullmatch(r"-?[0-9]{1,20}", value) and int(value) in INT64 for value in known)
    return pa.int64() if known and whole else pa.string()
