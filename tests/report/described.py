"""The models that are described: every kind, plain and wide schemas."""

import pytest

from builders import CHANNELS, SCHEMA
from dienjax.models import DIEN, DIN
from dienjax.schema import Behaviour, Dense, Schema, Sparse, Table
from dienjax.training.losses import LossConfig

PLAIN = Schema((Table("item", 5000),), (Behaviour("item"),))
NAMES = ["item", "category", "brand", "shop", "price_band"]
WIDE = Schema(
    tables=(
        *(Table(name, 10 ** (3 + i), 8) for i, name in enumerate(NAMES)),
        *(Table(f"profile_{i}", 100 + i, 8) for i in range(60)),
        Table("a_rather_long_name_of_a_table_for_a_feature_of_the_context_of_the_candidate" * 2, 10, 4),
    ),
    behaviours=tuple(Behaviour(name) for name in NAMES),
    sparse=(
        *(Sparse(f"profile_{i}") for i in range(60)),
        Sparse("a_rather_long_name_of_a_table_for_a_feature_of_the_context_of_the_candidate" * 2, of="candidate"),
        Sparse("seller", "shop", of="candidate"),
    ),
    dense=(Dense("age"), Dense("price", of="candidate")),
)
NO_AUXILIARY = LossConfig(alpha=0)
CASES = {
    "din": (DIN(SCHEMA, softmax=True), SCHEMA, LossConfig()),
    "din_plain": (DIN(PLAIN, tower=(9,), dropout=0.1), PLAIN, LossConfig("regression")),
    "augru": (DIEN(SCHEMA, gate="author"), SCHEMA, LossConfig(alpha=0.5)),
    "agru": (DIEN(PLAIN, kind="AGRU", batch_norm=True), PLAIN, LossConfig()),
    "aigru": (DIEN(SCHEMA, kind="AIGRU", state=7), SCHEMA, NO_AUXILIARY),
    "gru": (DIEN(SCHEMA, kind="GRU", attention="bilinear", auxiliary="inner", softmax=False), SCHEMA, LossConfig()),
    "min": (DIEN(PLAIN, kind="minAUGRU", extractor="minGRU", gate="author"), PLAIN, LossConfig()),
    "separate": (DIEN(SCHEMA, fields="separate", cell="torch_rechub", auxiliary="inner"), SCHEMA, LossConfig()),
    "channels": (DIEN(CHANNELS), CHANNELS, LossConfig()),
    "din_channels": (DIN(CHANNELS), CHANNELS, LossConfig()),
    "wide": (DIEN(WIDE, attention_hidden=(512, 256, 128, 64, 32), tower=(99999,) * 30), WIDE, LossConfig()),
}
all_cases = pytest.mark.parametrize("case", CASES)
