"""Where arrays live: the devices of a run, the rows of a batch that each of them gets, and the rule for the tables.

The rows of a batch are divided over the devices, in order. Everything else stands on each of them, but for large tables
and their moments where `devices.tables` is "rows": of those each device holds as many rows as any other, in order; rows
of zeros at the end make the number fit. With a single device a layout changes nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dienjax.models.embedding import initial_part, initial_rows
from dienjax.models.settings import Count, check
from dienjax.schema import Schema
from dienjax.training.threads import cores

AXIS = "batch"
"""The only axis of the mesh."""

SMALL = 2**16
"""A table of fewer rows stands on every device: to spread it would save little memory, and cost a look-up elsewhere."""

Tables = Literal["replicated", "rows", "host"]


@dataclass(frozen=True)
class DevicesConfig:
    """The devices that train, and what of the embedding tables each of them holds.

    Attributes:
      tables: "replicated", all on every device; "rows", the rows of large tables and of their moments divided over the
        devices, for tables larger than the memory of one; "host", large tables and their moments in the host's memory,
        for tables larger than the only device.
      count: the number of devices that share each batch, which must divide data.batch_size; 0 takes all there are.
      threads: the most threads of a CPU that share each batch; 0 takes one for each core that the process may use.
      folder: with tables "host", keeps them in files in this folder, for tables larger than the host's memory too.
    """

    tables: Tables = "replicated"
    count: Count = 0
    threads: Count = 0
    folder: str = ""

    def __post_init__(self) -> None:
        check("devices", self)


@dataclass(frozen=True)
class Layout:
    """The devices of a run and the rule for its tables.

    Attributes:
      devices: in the order in which they get the rows of a batch.
      small: a table of fewer rows stands on every device.
      folder: for tables on the host.
      threads: the most that share a batch of a single CPU device.
    """

    schema: Schema
    devices: tuple[jax.Device, ...] = field(default_factory=lambda: tuple(jax.local_devices()[:1]))
    tables: Tables = "replicated"
    small: int = SMALL
    folder: str = ""
    threads: int = 1

    @classmethod
    def of(cls, config: DevicesConfig, schema: Schema, batch_size: int) -> "Layout":
        """The layout that a config asks for, on the devices that there are.

        Raises:
          ValueError: fewer devices than asked for, or a number of them that does not divide the batch size.
        """
        there = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
        count = config.count or len(there)
        if count > len(there) or (jax.process_count() > 1 and count != len(there)):
            raise ValueError(
                f"devices.count is {count}, but there are {len(there)} devices in {jax.process_count()} process(es): "
                f"{there[0].platform}; expected 0, for all of them, or "
                + (f"1 to {len(there)}" if jax.process_count() == 1 else f"{len(there)}: each process takes part")
            )
        if batch_size % count:
            below, above = batch_size - batch_size % count, batch_size + count - batch_size % count
            raise ValueError(
                f"data.batch_size is {batch_size}, which {count} devices do not divide; expected a multiple of "
                f"{count}, such as {' or '.join(str(n) for n in (below, above) if n)}, or another devices.count"
            )
        if config.tables == "host" and count > 1:
            raise ValueError(
                f'devices.tables is "host", which is for one device, but there are {count}: set devices.count=1, or '
                'devices.tables="rows", which divides the tables over them'
            )
        threads = config.threads or cores() if count == 1 and there[0].platform == "cpu" else 1
        return cls(schema, tuple(there[:count]), config.tables, SMALL, config.folder, threads)

    @property
    def divided(self) -> bool:
        """Whether several devices share each batch."""
        return len(self.devices) > 1

    @property
    def mesh(self) -> Mesh:
        return Mesh(np.array(self.devices), (AXIS,))

    @property
    def spread(self) -> frozenset[str]:
        """The tables whose rows are divided over the devices."""
        large = (t.name for t in self.schema.tables if t.size >= max(self.small, len(self.devices)))
        return frozenset(large) if self.divided and self.tables == "rows" else frozenset()

    @property
    def hosted(self) -> frozenset[str]:
        """The tables that are on the host."""
        large = (t.name for t in self.schema.tables if t.size >= self.small)
        return frozenset(large) if self.tables == "host" else frozenset()

    @property
    def elsewhere(self) -> bool:
        """Whether a step needs more than the arrays of one device."""
        return self.divided or bool(self.hosted)

    def stored_rows(self, table: str) -> int:
        """The number of rows that a table has in the state: as many on each device."""
        size = self.schema.table(table).size
        return math.ceil(size / len(self.devices)) * len(self.devices) if table in self.spread else size

    def rows_here(self) -> dict[str, int]:
        """The number of rows of each table that a device holds."""
        parts = {name: len(self.devices) for name in self.spread}
        return {t.name: self.stored_rows(t.name) // parts.get(t.name, 1) for t in self.schema.tables}

    def spec(self, path: Sequence[Any], leaf: Any) -> PartitionSpec:
        """How a leaf of the state is divided."""
        table = table_of(path, leaf, {name: self.stored_rows(name) for name in self.spread})
        return PartitionSpec(AXIS) if table else PartitionSpec()

    def specs(self, tree: Any) -> Any:
        """How each leaf of a state, or of a part of it, is divided."""
        return jax.tree.map_with_path(self.spec, tree)

    def shardings(self, tree: Any) -> Any:
        """Where on the devices each leaf of a state lives."""
        mesh = self.mesh
        return jax.tree.map_with_path(lambda path, leaf: NamedSharding(mesh, self.spec(path, leaf)), tree)

    def stored(self, tree: Any) -> Any:
        """A state of the schema's shapes, as `jax.eval_shape` gives it, with the shapes and places that it has here.

        What is on the host has no place.
        """
        sizes = {table.name: table.size for table in self.schema.tables}
        mesh, default = self.mesh, jnp.zeros(()).sharding

        def placed(path: Any, leaf: Any) -> jax.ShapeDtypeStruct:
            table = table_of(path, leaf, sizes)
            if table is not None:
                leaf = jax.ShapeDtypeStruct((self.stored_rows(table), *leaf.shape[1:]), leaf.dtype)
            if table in self.hosted:
                return leaf
            where = NamedSharding(mesh, self.spec(path, leaf)) if self.divided else default
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)

        return jax.tree.map_with_path(placed, tree)

    def shape(self, path: Sequence[Any], leaf: Any) -> tuple[int, ...]:
        """The shape of a leaf of the state without the rows that only make the number fit."""
        table = table_of(path, leaf, {name: self.stored_rows(name) for name in self.spread})
        return leaf.shape if table is None else (self.schema.table(table).size, *leaf.shape[1:])

    @property
    def everywhere(self) -> Any:
        """Where an array is that all devices have; None for the default device."""
        return NamedSharding(self.mesh, PartitionSpec()) if self.divided else None

    @property
    def share(self) -> tuple[int, int]:
        """Which part of the rows of each batch this process prepares, and how many parts there are."""
        return (jax.process_index(), jax.process_count()) if self.divided else (0, 1)

    @property
    def parts_here(self) -> int:
        """The number of devices of this process."""
        return len(self.devices) // self.share[1]

    def put(self, rows: Any) -> Any:
        """The arrays of a batch, of which each process has its rows, divided over the devices."""
        if not self.divided:
            return jax.device_put(rows)
        sharding = NamedSharding(self.mesh, PartitionSpec(AXIS))
        return jax.tree.map(lambda a: jax.make_array_from_process_local_data(sharding, a), rows)

    def initial_rows(self, key: jax.Array, shape: tuple[int, int]) -> jax.Array:
        """The first values of a table, as `embedding.initial_rows` draws them, each device its own rows."""
        held = {t.size: self.rows_here()[t.name] for t in self.schema.tables if t.name in self.spread}
        if shape[0] not in held:
            return initial_rows(key, shape)
        count = held[shape[0]]

        def mine(key: jax.Array) -> jax.Array:
            return initial_part(key, shape, jax.lax.axis_index(AXIS) * count, count)

        divided = jax.shard_map(
            mine, mesh=self.mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec(AXIS), check_vma=False
        )
        drawn: jax.Array = divided(key)
        return drawn


def here(array: Any) -> np.ndarray:
    """The rows of a divided array that this process has; all of any other array."""
    if not isinstance(array, jax.Array) or array.is_fully_addressable:
        return np.asarray(array)
    shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(shard.data) for shard in shards])


def table_of(path: Sequence[Any], leaf: Any, rows: dict[str, int]) -> str | None:
    """The table that a leaf of the state has one entry for each row of, as the table itself and its moments have.

    Args:
      rows: by table name, how many rows a table has; of other tables nothing is said.
    """
    keys = [getattr(key, "key", None) for key in path[-2:]]
    if len(keys) < 2 or keys[0] != "embedder" or keys[1] not in rows:
        return None
    return keys[1] if leaf.shape[:1] == (rows[keys[1]],) else None
