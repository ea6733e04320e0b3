"""What a data set looks like to a model: its embedding tables, and the fields that read them."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np

from dienjax.errors import nearest

PADDING, UNKNOWN, FIRST_ID = 0, 1, 2
"""Id 0 is padding, id 1 is a value never seen in training, real values start at 2."""

LARGEST = 2**31 - 1
"""The largest size of a table: ids are int32."""

MOST_CHANNELS = 127
"""A batch holds the number of an event's channel as int8."""

_CONTROL = "\x00-\x1f\x7f-\x9f\ud800-\udfff"
_FILE_NAME = re.compile(rf"[^./\\{_CONTROL}][^/\\{_CONTROL}]*")

Side = Literal["user", "candidate"]
Pool = Literal["mean", "sum", "max"]
Time = Literal["gap", "next_gap", "position", "hour", "weekday"]


@dataclass(frozen=True)
class Table:
    """An embedding table of `size` rows (padding and unknown included), `dim` numbers each.

    Raw values get their ids from a vocabulary, whose fingerprint is `digest`, empty if there is none: id 7 need not
    mean the same in two logs of equal size. Or without one (`dienjax.inputs.ids`): numbers by the `edges` that they lie
    between, any values by hashing with a `seed`.
    """

    name: str
    size: int
    dim: int = 18
    digest: str = ""
    edges: tuple[float, ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", tuple(self.edges))

    @property
    def has_vocabulary(self) -> bool:
        """Whether raw values get their ids from a vocabulary."""
        return not self.edges and self.seed is None


@dataclass(frozen=True)
class Behaviour:
    """A field of every event, such as the item or its category: history, negative and candidate share its table.

    With `most` it is a set of up to that many ids, such as tags, whose vectors are pooled; 0: it is one id. Raw values
    are lists then, or text with a `separator`. With `time` it is derived from when the event was, as
    `dienjax.inputs.time_fields` says, and a store does not have it.
    """

    name: str
    table: str = ""
    most: int = 0
    pool: Pool = "mean"
    time: Time | None = None
    separator: str = ""


@dataclass(frozen=True)
class Sparse:
    """One id, or as for a behaviour a set of them, per user (profile, context: shape [B]) or per candidate ([B, K])."""

    name: str
    table: str = ""
    of: Side = "user"
    most: int = 0
    pool: Pool = "mean"
    separator: str = ""


@dataclass(frozen=True)
class Scale:
    """How a number becomes one of about unit size: (x − mean) / std, of log(1 + x) in place of x where `log`."""

    mean: float
    std: float
    log: bool = False


@dataclass(frozen=True)
class Dense:
    """One number per user ([B]), per candidate ([B, K]), or per event: of history, negative and candidate alike.

    With a scale NaN stands for a missing number, which a model sees as such; without one it is used as it is.
    """

    name: str
    of: Side | Literal["event"] = "user"
    scale: Scale | None = None

    @property
    def width(self) -> int:
        """How many numbers a model sees: with a scale the number, 0 if it is missing, and whether it is missing."""
        return 1 if self.scale is None else 2


Field = Behaviour | Sparse | Dense


@dataclass(frozen=True)
class Channel:
    """A kind of events with a history of its own: those whose type has one of `ids`, the most recent `most` of them."""

    name: str
    ids: tuple[int, ...]
    most: int = 50

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(self.ids))


@dataclass(frozen=True)
class Schema:
    """The tables and fields of a data set; the first behaviour is the item.

    A field reads the table of its own name unless `table` says otherwise.

    With channels a model keeps a history for each kind of events, in place of one for all. The behaviour `type` tells
    the kind; events of no channel are in no history.

    Raises:
      ValueError: a name that is used twice or cannot be a file name, a table that does not exist or that no field
        reads, an impossible size, or channels that share an id.
    """

    tables: tuple[Table, ...]
    behaviours: tuple[Behaviour, ...]
    sparse: tuple[Sparse, ...] = ()
    dense: tuple[Dense, ...] = ()
    type: str = ""
    channels: tuple[Channel, ...] = ()

    def __post_init__(self) -> None:
        for group in ("behaviours", "sparse"):
            named = tuple(f if f.table else replace(f, table=f.name) for f in getattr(self, group))
            object.__setattr__(self, group, named)
        self._check()

    def _check(self) -> None:
        if not self.behaviours:
            raise ValueError("Schema.behaviours is empty; expected at least the item, such as Behaviour('item_id')")
        for what, names in (("table", [t.name for t in self.tables]), ("field", self.field_names)):
            check_names(what, names)
        sides = get_args(Side)
        for name, of, expected in [(f.name, f.of, sides) for f in self.sparse] + [
            (f.name, f.of, (*sides, "event")) for f in self.dense
        ]:
            if of not in expected:
                raise ValueError(f"Schema: field {name!r} is of {of!r}; expected one of {expected}")
        for field in self.id_fields:
            if not _is_whole(field.most, 0) or field.pool not in get_args(Pool):
                raise ValueError(
                    f"Schema: field {field.name!r} has most={field.most!r}, pool={field.pool!r}; expected a whole "
                    f"number, 0 for one id, and one of {get_args(Pool)}"
                )
        if self.behaviours[0].most or self.behaviours[0].time:
            raise ValueError(
                f"Schema: the item {self.item!r} is a set of ids, or a time; expected a behaviour with one id first"
            )
        self._check_times()
        for dense in self.dense:
            scale = dense.scale
            if scale is not None and not (math.isfinite(scale.mean) and 0 < scale.std < math.inf):
                raise ValueError(f"Schema: field {dense.name!r} has {scale}; expected a finite mean and std above 0")
        read = {f.table for f in self.id_fields}
        known = {t.name for t in self.tables}
        for name in sorted(read - known):
            raise ValueError(f"Schema: a field reads table {name!r}, which is not declared; {nearest(name, known)}")
        for name in sorted(known - read):
            raise ValueError(f"Schema: no field reads table {name!r}; remove it or name it in a field")
        for table in self.tables:
            if not (_is_whole(table.size, 2) and _is_whole(table.dim, 1)):
                raise ValueError(
                    f"Schema: table {table.name!r} has size {table.size} and dim {table.dim}; expected size >= 2 "
                    f"(ids 0 and 1 are padding and unknown) and dim >= 1, whole numbers up to {LARGEST}"
                )
            between = all(low < high for low, high in pairwise((-math.inf, *table.edges, math.inf)))
            fits = table.size == FIRST_ID + len(table.edges) + 1 if table.edges else table.size > FIRST_ID
            if (table.edges and not between) or ((table.edges or table.seed is not None) and not fits):
                raise ValueError(
                    f"Schema: table {table.name!r} has size {table.size}, edges {table.edges} and seed {table.seed}; "
                    "expected ascending finite edges and an id for each of the intervals between them, or room for "
                    "hashed values"
                )
        self._check_channels()

    def _check_channels(self) -> None:
        if bool(self.type) != bool(self.channels):
            raise ValueError(f"Schema: type={self.type!r} and {len(self.channels)} channels; expected both or neither")
        if not self.channels:
            return
        if self.type not in [b.name for b in self.behaviours if not b.most]:
            raise ValueError(
                f"Schema: type={self.type!r} is not a behaviour with one id; {nearest(self.type, self.field_names)}"
            )
        check_names("channel", [c.name for c in self.channels])
        if len(self.channels) > MOST_CHANNELS:
            raise ValueError(f"Schema: {len(self.channels)} channels; expected at most {MOST_CHANNELS}")
        size, owner = self.sizes()[self.type], dict[int, str]()
        for channel in self.channels:
            fits = channel.ids and all(_is_whole(i, UNKNOWN) and i < size for i in channel.ids)
            if not fits or not _is_whole(channel.most, 1):
                raise ValueError(
                    f"Schema: channel {channel.name!r} has ids={channel.ids} and most={channel.most!r}; expected ids "
                    f"of {self.type!r}, {UNKNOWN} to {size - 1}, and at least one event"
                )
            for i in channel.ids:
                if owner.setdefault(i, channel.name) != channel.name:
                    raise ValueError(
                        f"Schema: id {i} of {self.type!r} is in the channels {owner[i]!r} and {channel.name!r}; "
                        "expected it in one"
                    )

    def _check_times(self) -> None:
        for behaviour in self.behaviours:
            if behaviour.time is not None and behaviour.time not in get_args(Time):
                raise ValueError(
                    f"Schema: field {behaviour.name!r} has time={behaviour.time!r}; expected one of {get_args(Time)}"
                )
            if behaviour.time and (behaviour.most or not self.table(behaviour.table).edges):
                raise ValueError(
                    f"Schema: field {behaviour.name!r}, a {behaviour.time}, is a set or reads the table "
                    f"{behaviour.table!r} without edges; expected one id by the edges of its table"
                )

    @property
    def id_fields(self) -> tuple[Behaviour | Sparse, ...]:
        """The fields that hold ids."""
        return (*self.behaviours, *self.sparse)

    @property
    def event_fields(self) -> tuple[Behaviour | Dense, ...]:
        """The fields of every event: the behaviours, and the numbers beside them."""
        return (*self.behaviours, *(f for f in self.dense if f.of == "event"))

    @property
    def stored_fields(self) -> tuple[Behaviour | Dense, ...]:
        """The fields of every event that a log has: those that are not derived from its time."""
        return tuple(f for f in self.event_fields if isinstance(f, Dense) or not f.time)

    @property
    def time_fields(self) -> tuple[Behaviour, ...]:
        """The fields of every event that are derived from its time."""
        return tuple(b for b in self.behaviours if b.time)

    def side(self, of: Side) -> tuple[Sparse | Dense, ...]:
        """The fields of a user, or of a candidate alone."""
        fields: tuple[Sparse | Dense, ...] = (*self.sparse, *self.dense)
        return tuple(f for f in fields if f.of == of)

    def width(self, field: Field) -> int:
        """How many numbers a model sees of a field."""
        return field.width if isinstance(field, Dense) else self.table(field.table).dim

    @property
    def field_names(self) -> list[str]:
        return [f.name for f in self.id_fields] + [f.name for f in self.dense]

    def longest(self, max_len: int) -> int:
        """The most events of a history: those of all channels, or `max_len` where there are none."""
        return sum(c.most for c in self.channels) or max_len

    @property
    def item(self) -> str:
        """The name of the behaviour that identifies an item."""
        return self.behaviours[0].name

    def table(self, name: str) -> Table:
        return next(t for t in self.tables if t.name == name)

    def sizes(self) -> dict[str, int]:
        """Table size by the name of each field that holds ids."""
        return {f.name: self.table(f.table).size for f in self.id_fields}

    def with_dims(self, dim: int | dict[str, int]) -> "Schema":
        """The same schema with another embedding dim, for all tables or by table name."""
        if isinstance(dim, int):
            dim = {t.name: dim for t in self.tables}
        known = [t.name for t in self.tables]
        for name in dim:
            if name not in known:
                raise ValueError(f"Schema.with_dims: no table {name!r}; {nearest(name, known)}")
        return replace(self, tables=tuple(replace(t, dim=dim.get(t.name, t.dim)) for t in self.tables))

    def to_json(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Schema":
        """The schema that `to_json` wrote; raises ValueError for anything else."""
        kinds: dict[str, Callable[..., Any]] = {
            "tables": Table,
            "behaviours": Behaviour,
            "sparse": Sparse,
            "dense": _dense,
            "channels": Channel,
        }
        try:
            data = {"type": "", "channels": [], **data}  # a schema of before there were channels has none
            groups = {name: tuple(kind(**entry) for entry in data[name]) for name, kind in kinds.items()}
            return cls(**groups, type=data["type"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"Schema.from_json: not a schema ({error}); expected what Schema.to_json gives") from error

    def _meaning(self) -> dict[str, str]:
        """One line per table and field. Dims are left out: they do not change what an id means."""
        lines = {f"table {t.name}": f"{t.size} rows, {_source(t)}" for t in self.tables}
        lines |= {f"behaviour {i} {f.name}": f"reads {f.table}{_several(f)}" for i, f in enumerate(self.behaviours)}
        lines |= {f"sparse {f.name}": f"of {f.of}, reads {f.table}{_several(f)}" for f in self.sparse}
        lines |= {f"dense {f.name}": f"of {f.of}" + (f", {f.scale}" if f.scale else "") for f in self.dense}
        return lines | {
            f"channel {i} {c.name}": f"the last {c.most} events whose {self.type} has id {', '.join(map(str, c.ids))}"
            for i, c in enumerate(self.channels)
        }

    @property
    def hash(self) -> str:
        """A short fingerprint of everything that an id means: not of the embedding dims, nor of separators."""
        return hashlib.sha256(json.dumps(self._meaning(), sort_keys=True).encode()).hexdigest()[:16]

    def difference(self, other: "Schema") -> str:
        """What differs from `other`, one per line ("- " here only, "+ " there only); empty if ids mean the same."""
        mine, theirs = self._meaning(), other._meaning()
        lines = []
        for name in sorted(mine.keys() | theirs.keys()):
            if mine.get(name) != theirs.get(name):
                lines += [f"- {name}: {mine[name]}"] if name in mine else []
                lines += [f"+ {name}: {theirs[name]}"] if name in theirs else []
        return "\n".join(lines)


def shaped(field: Field, *axes: Any) -> tuple[tuple, type]:
    """The shape and dtype of a field's array over some axes: a set of ids has one more."""
    if isinstance(field, Dense):
        return axes, np.float32
    return (*axes, field.most) if field.most else axes, np.int32


def check_names(what: str, names: Sequence[str]) -> None:
    """Refuse names that cannot all be files of one folder: each names a file of a store, a run or an export.

    Raises:
      ValueError: a name that is empty or too long, begins with a dot, has a slash or a control character, or occurs
        twice, ignoring case.
    """
    before: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str) or not _FILE_NAME.fullmatch(name) or len(name.encode()) > 200:
            raise ValueError(
                f"Schema: {what} {name!r} cannot be the name of a file; expected 1 to 200 bytes of UTF-8 without a "
                "leading dot, '/', '\\' or control characters: rename it"
            )
        other = before.setdefault(name.casefold(), name)
        if other != name:
            raise ValueError(f"Schema: {what} {name!r} and {other!r} differ only in case: rename one")
        if names.count(name) > 1:
            raise ValueError(f"Schema: {what} {name!r} occurs {names.count(name)} times; give each its own name")


def _source(table: Table) -> str:
    """Where the ids of a table come from."""
    if table.edges:
        return f"between the edges {', '.join(map(repr, table.edges))}"
    return f"vocabulary {table.digest or 'not given'}" if table.seed is None else f"hashed with seed {table.seed}"


def _several(field: Behaviour | Sparse) -> str:
    derived = f", the {field.time}" if isinstance(field, Behaviour) and field.time else ""
    return f", up to {field.most} ids, their {field.pool}" if field.most else derived


def _dense(scale: dict[str, Any] | None = None, **entry: Any) -> Dense:
    return Dense(**entry, scale=Scale(**scale) if scale else None)


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= LARGEST
