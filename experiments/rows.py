"""A table of results that grows by a row at a time, as JSON and as Markdown side by side."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dienjax.storage.files import write_json, write_text

Rows = list[dict[str, Any]]


def keep(path: Path, row: dict[str, Any], key: Sequence[str], table: Callable[[Rows], str]) -> None:
    """Write a row into `path`.json in place of the one with the same values of `key`, and the table to `path`.md."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_suffix(".json")
    rows = json.loads(file.read_text()) if file.exists() else []
    rows = [old for old in rows if any(old[name] != row[name] for name in key)] + [row]
    write_json(file, rows)
    write_text(path.with_suffix(".md"), table(rows))
