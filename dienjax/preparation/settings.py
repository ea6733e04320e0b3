"""What a store is made of and how: the roles of the columns, and the choices of `prepare`."""

from dataclasses import dataclass

from dienjax.data.store import Store
from dienjax.preparation.splits import Fractions, Protocol
from dienjax.schema import Time


@dataclass(frozen=True)
class Fields:
    """The roles of the columns: `attributes` of the event, `users` of the user, context and dense of an impression.

    `times` are derived fields of every event, which no column holds.
    """

    user: str
    item: str
    time: str
    attributes: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    dense: tuple[str, ...] = ()
    times: tuple[Time, ...] = ()

    @property
    def behaviours(self) -> tuple[str, ...]:
        return (self.item, *self.attributes)


@dataclass(frozen=True)
class Settings:
    """How a store is made from a log; see `prepare`."""

    protocol: Protocol
    fractions: Fractions
    min_count: int = 1
    drop_duplicates: bool = False
    like: Store | None = None
    grow: bool = False
    user_id: bool = False
