"""What is compared: feature sets, the libraries' models on them, and random ragged batches."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from dienjax.batch import Batch
from dienjax.schema import Behaviour, Dense, Schema, Sparse, Table

Source = Literal["deepctr_torch", "torch_rechub"]
Name = Literal["DIN", "DIEN"]

LENGTHS = (0, 1, 6, 3, 2, 6, 0, 4, 5, 1, 2, 6, 3, 0, 4, 5)
"""Empty, single and full histories of T = 6 slots: B = 16."""
T = max(LENGTHS)


@dataclass(frozen=True)
class Features:
    """A data set's fields; `columns` names all of them in the library's order (torch-rechub: target features first)."""

    schema: Schema
    columns: tuple[str, ...]


def _tables(**dims: int) -> tuple[Table, ...]:
    return tuple(Table(name, 10 + i, dim) for i, (name, dim) in enumerate(dims.items()))


ITEM_CATEGORY = (Behaviour("item"), Behaviour("category"))

PLAIN = Features(Schema(_tables(item=5, category=3), ITEM_CATEGORY), ("item", "category"))
ITEM_ONLY = Features(Schema(_tables(item=8), (Behaviour("item"),)), ("item",))
PROFILE = Features(
    Schema(
        _tables(item=5, category=3, user=3, gender=2),
        ITEM_CATEGORY,
        (Sparse("user"), Sparse("gender")),
        (Dense("age"),),
    ),
    ("user", "gender", "item", "category", "age"),
)
MIXED = Features(  # candidate columns between those of user and context; two dense columns
    Schema(
        _tables(item=5, category=3, user=3, slot=2),
        ITEM_CATEGORY,
        (Sparse("user"), Sparse("slot", of="candidate")),
        (Dense("age"), Dense("price", of="candidate")),
    ),
    ("user", "item", "slot", "category", "age", "price"),
)
SHARED = Features(  # one table for three columns, none of which has its name
    Schema(
        _tables(goods=5, category=3),
        (Behaviour("item", "goods"), Behaviour("category")),
        (Sparse("favourite", "goods"), Sparse("last_seen", "goods")),
    ),
    ("item", "favourite", "category", "last_seen"),
)
ONE_FIELD = Features(Schema(_tables(item=4, user=3), (Behaviour("item"),), (Sparse("user"),)), ("item", "user"))
FIELDS = Features(
    Schema(_tables(item=4, category=4, user=3, gender=3), ITEM_CATEGORY, (Sparse("user"), Sparse("gender"))),
    ("item", "category", "user", "gender"),
)
FIELDS_DENSE = Features(
    Schema(
        _tables(item=4, category=4, user=3, slot=3),
        ITEM_CATEGORY,
        (Sparse("user"), Sparse("slot", of="candidate")),
        (Dense("age"), Dense("price", of="candidate")),
    ),
    ("item", "category", "slot", "user", "price", "age"),
)
SETS = Features(  # pooled sets of the user and the candidate, one in the table of the item
    Schema(
        _tables(item=4, category=4, user=4, tags=4),
        ITEM_CATEGORY,
        (
            Sparse("user"),
            Sparse("favourites", "item", most=3, pool="sum"),
            Sparse("tags", of="candidate", most=4),
        ),
    ),
    ("item", "category", "favourites", "user", "tags"),
)
LARGEST_OF_SET = Features(
    Schema(_tables(item=4, tags=4), (Behaviour("item"),), (Sparse("tags", most=3, pool="max"),)),
    ("tags", "item"),
)


@dataclass(frozen=True)
class Variant:
    """One model of one library: the arguments of its constructor, and the options that read its weights.

    `empty` is False if the library treats a row without history differently: its batches then have none. Likewise
    `empty_sets`.
    `padding_idx` sets torch-rechub's padding_idx=0, as the docstring of its DIEN demands.
    """

    source: Source
    name: Name
    title: str
    features: Features
    theirs: dict[str, Any] = field(default_factory=dict)
    ours: dict[str, Any] = field(default_factory=dict)
    alpha: float = 0.0
    empty: bool = True
    padding_idx: bool = False
    empty_sets: bool = True
    remark: str = ""

    @property
    def negatives(self) -> bool:
        """Whether the model sees negative histories: torch-rechub's DIEN cannot do without them."""
        return self.alpha > 0

    @property
    def our_alpha(self) -> float:
        """The weight that gives our mean over steps, fields and {+, −} the value of their auxiliary loss."""
        fields = len(self.features.schema.behaviours)
        return self.alpha * 2 * fields if self.source == "torch_rechub" else self.alpha

    def lengths(self) -> tuple[int, ...]:
        return LENGTHS if self.empty else tuple(max(length, 1) for length in LENGTHS)

    def batch(self, seed: int) -> Batch:
        """A random batch for this model; the lengths are in another order for each seed."""
        lengths = np.random.default_rng(seed).permutation(self.lengths())
        return random_batch(self.features.schema, lengths, T, seed, self.negatives, self.empty_sets)


def random_batch(
    schema: Schema, lengths: Sequence[int], T: int, seed: int, negatives: bool = False, empty_sets: bool = True
) -> Batch:
    """A row with one candidate per length; every id is drawn from all rows of its table but the padding row.

    A set has any number of them, none only with `empty_sets`.
    """
    rng = np.random.default_rng(seed)
    sizes, B = schema.sizes(), len(lengths)
    mask_BT = np.arange(T) < np.asarray(lengths)[:, None]

    def ids(name: str, shape: tuple[int, ...]) -> np.ndarray:
        return rng.integers(1, sizes[name], shape, np.int32)

    def histories() -> dict[str, np.ndarray]:
        return {b.name: np.where(mask_BT, ids(b.name, mask_BT.shape), np.int32(0)) for b in schema.behaviours}

    def of_field(field: Sparse, shape: tuple[int, ...]) -> np.ndarray:
        if not field.most:
            return ids(field.name, shape)
        count = rng.integers(0 if empty_sets else 1, field.most + 1, (*shape, 1))
        return np.where(np.arange(field.most) < count, ids(field.name, (*shape, field.most)), np.int32(0))

    def features(side: str, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
        arrays = {f.name: of_field(f, shape) for f in schema.sparse if f.of == side}
        return arrays | {f.name: rng.normal(size=shape).astype(np.float32) for f in schema.dense if f.of == side}

    return Batch(
        user=features("user", (B,)),
        history=histories(),
        candidate={b.name: ids(b.name, (B, 1)) for b in schema.behaviours} | features("candidate", (B, 1)),
        mask_BT=mask_BT,
        mask_BK=np.ones((B, 1), bool),
        label_BK=rng.integers(0, 2, (B, 1)).astype(np.float32),
        negative=histories() if negatives else None,
    )
