"""What a store is made of and how: the roles of the columns, and the choices of `prepare`."""

from dataclasses import dataclass

from dienjax.data.store import Store
from dienjax.preparation.channels import Channels
from dienjax.preparation.splits import Fractions, Protocol


@dataclass(frozen=True)
class Fields:
    """The roles of the columns: `attributes` of the event, `users` of the user, context and dense of an impression.

    `channels` says by which of the attributes events have histories of their own.
    """

    user: str
    item: str
    time: str
    attributes: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    dense: tuple[str, ...] = ()
    channels: Channels | None = None

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
