"""What a store is made of and how: the roles of the columns, and the choices of `prepare`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dienjax.data.store import Store
from dienjax.preparation.channels import Channels
from dienjax.preparation.splits import Fractions, Protocol
from dienjax.preparation.suffixes import How
from dienjax.schema import Pool, Time


@dataclass(frozen=True)
class Fields:
    """The roles of the columns: `attributes` of the event, `users` of the user, context of an impression.

    Numbers are of events, users (`user_numbers`) and impressions (`dense`), each with how it is seen. `separators` are
    those of the columns whose text is a set.

    `channels` says by which of the attributes events have histories of their own.

    `times` are derived fields of every event, which no column holds.
    """

    user: str
    item: str
    time: str
    attributes: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    numbers: Mapping[str, How] = field(default_factory=dict)
    user_numbers: Mapping[str, How] = field(default_factory=dict)
    dense: Mapping[str, How] = field(default_factory=dict)
    separators: Mapping[str, str] = field(default_factory=dict)
    channels: Channels | None = None
    times: tuple[Time, ...] = ()

    @property
    def behaviours(self) -> tuple[str, ...]:
        """The columns of an event that have values."""
        return (self.item, *self.attributes)

    @property
    def of_events(self) -> tuple[str, ...]:
        return (*self.behaviours, *self.numbers)

    @property
    def how(self) -> dict[str, How]:
        """How each number is seen."""
        return {**self.numbers, **self.user_numbers, **self.dense}

    def names(self, user_id: bool) -> tuple[str, ...]:
        """All columns that a model is given."""
        of_user = (*self.users, self.user) if user_id else self.users
        return (*self.behaviours, *of_user, *self.context, *self.numbers, *self.user_numbers, *self.dense)


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
    hash: Mapping[str, int] = field(default_factory=dict)
    pool: Mapping[str, Pool] = field(default_factory=dict)
    set_quantile: float = 0.99
