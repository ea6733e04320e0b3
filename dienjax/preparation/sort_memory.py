"""Sorting a log in memory, by Arrow and NumPy."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from dienjax.preparation.read import Rows
from dienjax.preparation.tables import Sorted, Table, Values, rank_columns


def sort_in_memory(tables: Sequence[Table], progress: bool = False) -> tuple[Values, list[Sorted]]:
    """What `sort_tables` returns."""
    read = [_encoded(table, progress) for table in tables]
    values, places = rank_columns(
        tables, [rows for rows, _ in read], lambda i, name: read[i][1][name].chunk(0).dictionary
    )
    result = []
    for table, (all_rows, encoded), place in zip(tables, read, places, strict=True):
        code = {}
        for name in table.roles.ids:
            indices = [chunk.indices.fill_null(-1).to_numpy() for chunk in encoded.pop(name).chunks]
            # One place more than values: -1, a missing value, stays -1.
            code[name] = np.append(place[name], np.int32(-1))[np.concatenate(indices)]
        order = np.lexsort((all_rows.time_R, code[table.roles.user]))
        number = {name: number_R[order] for name, number_R in all_rows.numbers.items()}
        for name in code:
            code[name] = code[name][order]
        result.append(Sorted(all_rows.time_R[order], code, number, all_rows.facts.dates))
    return values, result


def _encoded(table: Table, progress: bool) -> tuple[Rows, dict[str, pa.ChunkedArray]]:
    """All rows of a table in its order, with the values of its id columns dictionary-encoded beside them."""
    blocks = []
    ids: dict[str, list[pa.Array]] = {name: [] for name in table.roles.ids}
    for block in table.rows(progress):
        for name in ids:
            ids[name].append(block.ids.pop(name).dictionary_encode())
        blocks.append(block)
    numbers = {name: np.concatenate([b.numbers[name] for b in blocks]) for name in table.roles.numbers}
    every = replace(blocks[-1], time_R=np.concatenate([b.time_R for b in blocks]), numbers=numbers)
    return every, {name: pa.chunked_array(parts).unify_dictionaries() for name, parts in ids.items()}
