"""Which Arrow columns hold lists."""

import pyarrow as pa

LISTS = (
    pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view,
    pa.types.is_large_list_view,
)  # fmt: skip


def is_list(type: pa.DataType) -> bool:
    """Whether a column of this type holds a list in each row, of whatever kind."""
    return any(check(type) for check in LISTS)
