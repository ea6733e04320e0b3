"""Pooled sets of the user and the candidate stand where a library has them; what it has not is refused by name."""

import numpy as np
import pytest

import builders
from dienjax.interop import convert
from dienjax.interop.convert import from_state_dict, to_state_dict
from dienjax.schema import Behaviour, Dense, Scale, Schema, Sparse, Table
from dienjax.training.config import ModelConfig

TABLES = (Table("item", 12, 3), Table("hobby", 8, 2), Table("city", 8, 2))
SETS = Schema(
    TABLES, (Behaviour("item"),), (Sparse("hobbies", "hobby", most=2), Sparse("city", of="candidate")), (Dense("age"),)
)
ORDERS = {
    "deepctr_torch": (["hobbies", "city", "item", "age"], [7, 8, 9, 2, 3, 4, 5, 6, 10, 0, 1]),
    "torch_rechub": (["item", "hobbies", "city", "age"], [0, 1, 2, 3, 4, 5, 6, 7, 10, 8, 9]),
}
"""Columns, and where the source has each of our numbers: interest, item, hobbies, age, city. deepctr-torch has single
ids first (city, item), then sets, the interest, numbers; torch-rechub interest, item, the others in their order."""
FIRST = {"deepctr_torch": "dnn.linears.0.weight", "torch_rechub": "mlp.mlp.0.weight"}


def built(source, schema, name="DIN"):
    options = {field: values[0] for field, values in convert.SOURCES[source].FIELDS[name].items()}
    return ModelConfig(
        name, {t.name: t.dim for t in schema.tables}, {**options, "attention_hidden": (4,), "tower": (5,)}
    )


@pytest.mark.parametrize("source", ORDERS)
def test_there_and_back(source):
    columns, order = ORDERS[source]
    model = built(source, SETS).build(SETS)
    variables = builders.random_variables(model, builders.make_batch(schema=SETS, negatives=False))
    state = to_state_dict(source, model, variables, columns)
    again, back = from_state_dict(source, "DIN", SETS, state, columns)
    assert again == model
    np.testing.assert_array_equal(
        back["params"]["tower"]["dense_0"]["kernel"], variables["params"]["tower"]["dense_0"]["kernel"]
    )
    state[FIRST[source]] = np.tile(np.arange(11, dtype=np.float32), (5, 1))
    _, numbered = from_state_dict(source, "DIN", SETS, state, columns)
    assert numbered["params"]["tower"]["dense_0"]["kernel"][:, 0].tolist() == order


@pytest.mark.parametrize(
    ("source", "name", "pool", "refused"),
    [
        ("deepctr_torch", "DIN", "max", False),
        ("torch_rechub", "DIN", "sum", False),
        ("torch_rechub", "DIN", "max", True),
        ("deepctr_torch", "DIEN", "mean", True),
    ],
)
def test_how_they_pool(source, name, pool, refused):
    schema = Schema(TABLES[:2], (Behaviour("item"),), (Sparse("hobbies", "hobby", most=2, pool=pool),))
    message = f"'hobbies' is a set, its {pool}" if refused else "does not fit"
    with pytest.raises(ValueError, match=message):
        from_state_dict(source, name, schema, {}, ["item", "hobbies"])


@pytest.mark.parametrize("source", convert.SOURCES)
def test_what_they_have_not_is_refused_in_one_message(source):
    with pytest.raises(ValueError, match=r"'s DIN has no such fields: ") as refused:
        from_state_dict(source, "DIN", builders.EVERY_KIND, {}, builders.EVERY_KIND.field_names)
    for part in (
        "'tags' is a set of an event", "'marks' is a set of an event", "'price' is a number of an event",
        "'dwell' is a number of an event", "'age' is a number with a scale: scale it before",
        "and pooled sets of these",
    ):  # fmt: skip
        assert part in str(refused.value)
    scaled = Schema(TABLES[:1], (Behaviour("item"),), (), (Dense("age", scale=Scale(0, 1)),))
    with pytest.raises(ValueError, match="'age' is a number with a scale"):
        to_state_dict(source, built(source, scaled).build(scaled), {}, ["item", "age"])
