"""Channels as a person names them, such as "type=click:50,cart+wish:20": which values make them, and their lengths."""

from dataclasses import dataclass

from dienjax.errors import nearest
from dienjax.preparation.vocabulary import Vocabulary
from dienjax.schema import Channel

EXPECTED = "expected COLUMN=VALUE:LENGTH,..., such as 'type=click:50,cart+wish:20': several values make one channel"


@dataclass(frozen=True)
class Channels:
    """The channels of the events by a column: the values of each, as text, and how many events it keeps."""

    column: str
    values: dict[str, tuple[str, ...]]
    most: dict[str, int]

    @classmethod
    def parse(cls, text: str) -> "Channels":
        """The channels that a text names; the length is 50 where it says none.

        Raises:
          ValueError: another form, or a channel that is named twice.
        """
        column, equals, rest = text.partition("=")
        most: dict[str, int] = {}
        for part in rest.split(","):
            name, _, length = (part if ":" in part else f"{part}:50").strip().rpartition(":")
            if not column or not equals or not all(name.split("+")) or not length.isdecimal() or int(length) < 1:
                raise ValueError(f"prepare: channels={text!r}; {EXPECTED}")
            if name in most:
                raise ValueError(f"prepare: channels={text!r} names {name!r} twice; expected each once")
            most[name] = int(length)
        return cls(column.strip(), {name: tuple(name.split("+")) for name in most}, most)

    def of(self, vocabulary: Vocabulary | None) -> tuple[Channel, ...]:
        """The channels by the ids of the column's vocabulary.

        Raises:
          ValueError: a value that it does not have, or no vocabulary.
        """
        if vocabulary is None:
            raise ValueError(
                f"prepare: channels are by {self.column!r}, which is hashed; expected a column that is not"
            )
        frame = vocabulary.frame
        id_of = {str(value): int(id) for id, value in zip(frame["id"], frame["value"], strict=True)}
        for name, values in self.values.items():
            for value in values:
                if value not in id_of:
                    raise ValueError(
                        f"prepare: channel {name!r} is of the value {value!r}, which column {self.column!r} does not "
                        f"hold in the training rows, or not min_count times; {nearest(value, id_of)}"
                    )
        return tuple(Channel(name, tuple(id_of[v] for v in self.values[name]), n) for name, n in self.most.items())
