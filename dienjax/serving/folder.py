"""The folder that an export writes, read only if every file in use is as it was written."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dienjax.schema import Schema
from dienjax.storage.files import inside, read_object, sha256

FORMAT, FORM = 2, "onnx"
GRAPHS = ("user_encoder.onnx", "candidate_scorer.onnx")
TABLES = "tables.data"
"""The large weights of all graphs, each once, if they are too large for the graphs' own files."""
AGAIN = "copy the export's folder again, or export again"


@dataclass(frozen=True)
class Export:
    """An export whose files were verified.

    Attributes:
      max_len: the most events of a history that the model reads.
      ids: the dtype of the graphs' ids.
      files: SHA-256 of the graphs, their weights and the vocabularies, by path in the folder.
    """

    folder: Path
    schema: Schema
    task: str
    max_len: int
    ids: np.dtype
    files: dict[str, str]

    def vocabulary(self, table: str) -> list | None:
        """The values of a table in the order of their ids, from id 2 on; None where values are ids already."""
        name = f"vocab/{table}.json"
        return json.loads((self.folder / name).read_bytes()) if name in self.files else None


def read_export(folder: str | Path) -> Export:
    """The export in `folder`, its files compared with their SHA-256.

    Raises:
      FileNotFoundError: `folder` is not an export, or lacks a file.
      ValueError: a file is damaged, or of a format that this version does not read.
    """
    folder = Path(folder)
    file = folder / "export.json"
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing; expected the folder of an export, as `dienjax export` writes it")
    try:
        facts = read_object(file)
        known = (facts["format"], facts["form"]) == (FORMAT, FORM)
        export = _export(folder, unsealed(facts)) if known else None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{file} is damaged ({error!r}); {AGAIN}") from error
    if export is None:
        raise ValueError(
            f"{file} has format {facts['format']!r} and form {facts['form']!r}; expected {FORMAT} and {FORM!r}: export "
            f"again with this version of dienjax and --form {FORM}"
        )
    for name, digest in export.files.items():
        verify(inside(folder, name), digest)
    return export


def sealed(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts of an export, with their own SHA-256, for export.json."""
    return {**facts, "sha256": _sha256(facts)}


def unsealed(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts that `sealed` was given.

    Raises:
      ValueError: one of them was changed since, or the SHA-256 is missing.
    """
    rest = {name: fact for name, fact in facts.items() if name != "sha256"}
    if facts.get("sha256") != _sha256(rest):
        raise ValueError("its SHA-256 is not that of its facts")
    return rest


def _sha256(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _export(folder: Path, facts: dict[str, Any]) -> Export:
    files, task, max_len, ids = facts["files"], facts["task"], facts["max_len"], facts["ids"]
    if task not in ("binary", "regression") or type(max_len) is not int or max_len < 1 or ids not in ("int32", "int64"):
        raise ValueError(f"{task=}, {max_len=}, {ids=}")
    used = [*GRAPHS, *(name for name in files if name == TABLES or name.startswith("vocab/"))]
    return Export(
        folder,
        Schema.from_json(facts["schema"]),
        task,
        max_len,
        np.dtype(ids),
        {name: files[name] for name in used},
    )


def verify(file: Path, digest: str) -> None:
    """Raise FileNotFoundError or ValueError if a file of an export is not what export.json lists."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing, though export.json lists it; {AGAIN}")
    if sha256(file) != digest:
        raise ValueError(f"{file} is damaged: its SHA-256 is not {digest}, as in export.json; {AGAIN}")


def is_export(path: Path) -> bool:
    """Whether a folder is an export, of any format and form."""
    try:
        return {"format", "form", "schema", "files"} <= read_object(path / "export.json").keys()
    except (OSError, ValueError):
        return False
