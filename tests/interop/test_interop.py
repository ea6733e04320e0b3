"""Keys and shapes as the libraries have them (written down here, not taken from the tables under test), both ways."""

import warnings

import jax
import numpy as np
import pytest

import builders
from dienjax import DIEN, DIN
from dienjax.interop import from_state_dict, to_state_dict
from dienjax.interop.match import Link

SCHEMA = builders.SCHEMA
COLUMNS = ("price", "category", "slot", "age", "item", "city")
"""Another order than the schema's, with the behaviours turned around."""


def linear(key, inputs, outputs, bias=True):
    return {f"{key}.weight": (outputs, inputs)} | ({f"{key}.bias": (outputs,)} if bias else {})


def norm(key, width):
    names = ("weight", "bias", "running_mean", "running_var")
    return {f"{key}.{name}": (width,) for name in names} | {f"{key}.num_batches_tracked": ()}


def gru(key, width, suffix):
    shapes = {"weight_ih": (3 * width, width), "weight_hh": (3 * width, width)}
    shapes |= {"bias_ih": (3 * width,), "bias_hh": (3 * width,)}
    return {f"{key}.{name}{suffix}": shape for name, shape in shapes.items()}


def deepctr(name, attention, *, kind="GRU", tower_norm=False, scorer=False):
    """A model of deepctr-torch: item and category are 3 and 2 wide, attention has 4, 3 units, the tower 6, 5."""
    key = "attention.local_att" if name == "DIN" else "interest_evolution.attention.local_att"
    shapes = {f"embedding_dict.{t.name}.weight": (t.size, t.dim) for t in SCHEMA.tables}
    shapes |= (
        linear(f"{key}.dnn.linears.0", 20, 4) | linear(f"{key}.dnn.linears.1", 4, 3) | linear(f"{key}.dense", 3, 1)
    )
    for i, width in enumerate((4, 3)):
        layer = f"{key}.dnn.activation_layers.{i}"
        shapes |= {f"{layer}.alpha": (width, 1)} | norm(f"{layer}.bn", width) if attention == "dice" else {}
        shapes |= {f"{layer}.weight": (1,)} if attention == "prelu" else {}
    shapes |= linear("dnn.linears.0", 16, 6) | linear("dnn.linears.1", 6, 5) | {"out.bias": (1,)}
    shapes |= norm("dnn.bn.0", 6) | norm("dnn.bn.1", 5) if tower_norm else {}
    shapes |= linear("dnn_linear" if name == "DIN" else "linear", 5, 1, bias=False)
    if name == "DIEN":
        shapes |= gru("interest_extractor.gru", 5, "_l0")
        cell = "interest_evolution.interest_evolution"
        shapes |= gru(cell, 5, "_l0") if kind in ("GRU", "AIGRU") else gru(f"{cell}.rnn", 5, "")
    if scorer:
        net = "interest_extractor.auxiliary_net.linears"
        shapes |= linear(f"{net}.0", 10, 100) | linear(f"{net}.1", 100, 50) | linear(f"{net}.2", 50, 1)
    return shapes


def sequential(key, inputs, hidden, activation="alpha"):
    shapes = {}
    for i, width in enumerate(hidden):
        shapes |= linear(f"{key}.{4 * i}", inputs, width) | norm(f"{key}.{4 * i + 1}", width)
        shapes |= {f"{key}.{4 * i + 2}.{activation}": (1,)} if activation else {}
        inputs = width
    return shapes | linear(f"{key}.{4 * len(hidden)}", inputs, 1)


def rechub(name, activation="alpha"):
    """A model of torch-rechub: the library itself would want one width for item and category."""
    shapes = {f"embedding.embed_dict.{t.name}.weight": (t.size, t.dim) for t in SCHEMA.tables}
    for f, width in enumerate((2, 3)):
        if name == "DIN":
            shapes |= sequential(f"attention_layers.{f}.attention.mlp", 4 * width, (4, 3), activation)
        else:
            shapes |= gru(f"interest_extractor_layers.{f}", width, "_l0")
            cell = f"interest_evolving_layers.{f}"
            shapes |= {f"{cell}.augru_cell.{m}{g}": (width, width) for m in "WU" for g in "urh"}
            shapes |= {f"{cell}.augru_cell.b{g}": (1, width) for g in "urh"} | {f"{cell}.Wa": (width, width)}
    return shapes | sequential("mlp.mlp", 16, (6, 5))


def random(shapes, seed=0):
    """Arrays of these shapes; counters are 0, as they are after the way back."""
    rng = np.random.default_rng(seed)
    return {
        k: rng.normal(size=s).astype(np.float32) if "num_batches" not in k else np.int64(0) for k, s in shapes.items()
    }


def tied(state_dict):
    key = "interest_evolution.interest_evolution.rnn.bias_"
    return state_dict | {f"{key}ih": state_dict[f"{key}hh"]}


VARIANTS = {
    "DIN dice": ("deepctr_torch", "DIN", random(deepctr("DIN", "dice")), {}),
    "DIN prelu": ("deepctr_torch", "DIN", random(deepctr("DIN", "prelu", tower_norm=True)), {"softmax": True}),
    "DIN sigmoid": ("deepctr_torch", "DIN", random(deepctr("DIN", "")), {"attention_activation": "sigmoid"}),
    "DIEN GRU": ("deepctr_torch", "DIEN", random(deepctr("DIEN", "relu")), {}),
    "DIEN AIGRU": ("deepctr_torch", "DIEN", random(deepctr("DIEN", "relu", scorer=True)), {"kind": "AIGRU"}),
    "DIEN AGRU": ("deepctr_torch", "DIEN", random(deepctr("DIEN", "dice", kind="AGRU")), {"kind": "AGRU"}),
    "DIEN AUGRU": (
        "deepctr_torch", "DIEN", tied(random(deepctr("DIEN", "relu", kind="AUGRU", tower_norm=True, scorer=True))),
        {"kind": "AUGRU", "softmax": False},
    ),
    "rechub DIN dice": ("torch_rechub", "DIN", random(rechub("DIN")), {"softmax": True}),
    "rechub DIN prelu": ("torch_rechub", "DIN", random(rechub("DIN", "weight")), {}),
    "rechub DIN relu": ("torch_rechub", "DIN", random(rechub("DIN", "")), {"attention_activation": "relu"}),
    "rechub DIEN": ("torch_rechub", "DIEN", random(rechub("DIEN")), {}),
}  # fmt: skip


def imported(variant, **changed):
    source, name, state_dict, options = VARIANTS[variant]
    return from_state_dict(source, name, SCHEMA.with_dims(7), state_dict | changed, COLUMNS, **options)


def same(got, expected):
    assert got.keys() == expected.keys()
    for key, array in expected.items():
        assert (got[key].shape, got[key].dtype) == (array.shape, array.dtype), key
        assert got[key].tobytes() == array.tobytes(), key


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("variant", VARIANTS)
def test_there_and_back_is_exact_either_way(variant):
    source, name, state_dict, options = VARIANTS[variant]
    model, variables = imported(variant)
    assert model.schema == SCHEMA, "the dims are those of the weights"
    same(to_state_dict(source, model, variables, COLUMNS), state_dict)
    batch = builders.make_batch(negatives="scorer" in variables["params"])
    other = builders.random_variables(model, batch)
    back, again = from_state_dict(
        source, name, SCHEMA, to_state_dict(source, model, other, COLUMNS), COLUMNS, **options
    )
    assert back == model
    jax.tree.map(np.testing.assert_array_equal, again, other)


def test_the_tower_takes_its_fields_in_the_order_of_the_source():
    """Column j of the source's first weight is filled with j: the item is 3 wide, other embeddings 2, numbers 1."""
    here = ["interest item", "interest category", "item", "category", "city", "age", "slot", "price"]
    orders = {
        ("DIN dice", "dnn.linears.0.weight"): "category slot item city interest_category interest_item price age",
        ("DIEN GRU", "dnn.linears.0.weight"): "interest_category interest_item category slot item city price age",
        ("rechub DIEN", "mlp.mlp.0.weight"): "interest_category interest_item category item slot city price age",
    }
    for (variant, key), order in orders.items():
        numbers = np.tile(np.arange(16, dtype=np.float32), (6, 1))
        kernel = imported(variant, **{key: numbers})[1]["params"]["tower"]["dense_0"]["kernel"]
        width = {name: 3 if "item" in name else 1 if name in ("price", "age") else 2 for name in here}
        start, at = {}, 0
        for name in order.replace("interest_", "interest#").split():
            start[name.replace("#", " ")], at = at, at + width[name.replace("#", " ")]
        assert kernel[:, 0].tolist() == [start[name] + i for name in here for i in range(width[name])]


def test_gates_and_their_sign():
    """z of nn.GRU keeps, ours writes: u = σ(−z); z of deepctr-torch's own cells writes already."""
    rzn = np.repeat(np.float32([1, 2, 3]), 5)
    extractor, evolution = "interest_extractor.gru.bias_hh_l0", "interest_evolution.interest_evolution.rnn.bias_hh"
    params = imported("DIEN AGRU", **{extractor: rzn, evolution: rzn})[1]["params"]
    assert params["extractor"]["cell"]["state_bias"][::5].tolist() == [1, -2, 3]
    assert params["evolution"]["cell"]["state_bias"][::5].tolist() == [1, 2, 3]


def test_all_that_does_not_fit_is_in_one_message():
    source, name, state_dict, _ = VARIANTS["DIEN GRU"]
    damaged = {k: v for k, v in state_dict.items() if k != "out.bias"} | {"extra": np.ones((2, 3))}
    damaged["embedding_dict.city.weight"] = np.ones((9, 2))
    with pytest.raises(ValueError, match=r"^the state_dict does not fit deepctr-torch 0.3.0's DIEN") as refused:
        from_state_dict(source, name, SCHEMA, damaged, COLUMNS)
    assert str(refused.value).splitlines()[1:-1] == [
        "  missing     out.bias: expected (1,)",
        "  unexpected  extra: got (2, 3)",
        "  misshapen   embedding_dict.city.weight: got (9, 2), expected (8, 2)",
    ]
    assert "kind: 'GRU', 'AIGRU', 'AGRU', 'AUGRU'" in str(refused.value)
    with pytest.raises(ValueError, match=r"missing     .*\.rnn\.weight_ih"):
        from_state_dict(source, name, SCHEMA, state_dict, COLUMNS, kind="AGRU")
    model, variables = imported("DIEN GRU")
    variables["params"]["tower"].pop("out")
    with pytest.raises(ValueError, match=r"(?s)missing     params/tower/out/kernel: expected \(5, 1\).*of this very"):
        to_state_dict(source, model, variables, COLUMNS)


def test_numbers_must_be_finite():
    source, name, state_dict, _ = VARIANTS["DIEN GRU"]
    with pytest.raises(ValueError, match=r"'out\.bias' holds NaN or infinity"):
        from_state_dict(source, name, SCHEMA, {**state_dict, "out.bias": np.float32([np.nan])}, COLUMNS)


def test_one_bias_under_two_names():
    key = "interest_evolution.interest_evolution.rnn.bias_"
    source, name, state_dict, options = VARIANTS["DIEN AUGRU"]
    other = state_dict | {f"{key}ih": np.zeros(15, np.float32)}
    with pytest.warns(UserWarning, match=r"bias_ih' and .*bias_hh' differ.*bias_hh' is taken, as load_state_dict does"):
        model, variables = from_state_dict(source, name, SCHEMA, other, COLUMNS, **options)
    same(to_state_dict(source, model, variables, COLUMNS), state_dict)
    for lost in ("ih", "hh"):  # safetensors' save_model keeps one name of a shared tensor
        kept = {k: v for k, v in state_dict.items() if k != f"{key}{lost}"}
        with warnings.catch_warnings(action="error"):
            _, variables = from_state_dict(source, name, SCHEMA, kept, COLUMNS, **options)
        same(to_state_dict(source, model, variables, COLUMNS), state_dict)


def test_columns_are_the_fields_of_the_schema():
    source, name, state_dict, _ = VARIANTS["DIN dice"]
    with pytest.raises(ValueError, match="columns is") as refused:
        from_state_dict(source, name, SCHEMA, state_dict, ["itm", "category", "category", "city", "age", "price"])
    for part in (
        "'itm' is not a field of the schema; did you mean 'item'", "'category' occurs 2 times",
        "missing: 'item', 'slot'", "embeddings in this order: item, category, city, slot.",
    ):  # fmt: skip
        assert part in str(refused.value)


def test_a_table_of_another_name():
    source, name, state_dict, _ = VARIANTS["rechub DIEN"]
    there = {k.replace("embed_dict.item.", "embed_dict.target_item."): v for k, v in state_dict.items()}
    with pytest.raises(ValueError, match=r"unexpected  embedding.embed_dict.target_item.weight(?s:.*)tables="):
        from_state_dict(source, name, SCHEMA, there, COLUMNS)
    tables = {"item": "target_item"}
    model, variables = from_state_dict(source, name, SCHEMA, there, COLUMNS, tables=tables)
    same(to_state_dict(source, model, variables, COLUMNS, tables=tables), there)
    with pytest.raises(ValueError, match="'itm' is not a table of the schema; did you mean 'item'"):
        from_state_dict(source, name, SCHEMA, there, COLUMNS, tables={"itm": "target_item"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sofmax": True}, "unknown key model.sofmax; did you mean 'softmax'"),
        ({"fields": "separate"}, "has no such DIN:\n  fields is 'separate'; expected 'joined'"),
        ({"dim": 4}, "leave it out: the weights tell"),
    ],
)
def test_options_that_the_source_does_not_have(options, message):
    source, name, state_dict, _ = VARIANTS["DIN dice"]
    with pytest.raises(ValueError, match=message):
        from_state_dict(source, name, SCHEMA, state_dict, COLUMNS, **options)


def test_a_source_or_model_that_there_is_not():
    with pytest.raises(ValueError, match="source is 'deepctr'; did you mean 'deepctr_torch'"):
        from_state_dict("deepctr", "DIN", SCHEMA, {}, COLUMNS)
    with pytest.raises(ValueError, match="model is 'DIM'; did you mean 'DIN'"):
        from_state_dict("deepctr_torch", "DIM", SCHEMA, {}, COLUMNS)


def test_a_model_of_our_own_is_not_one_of_theirs():
    with pytest.raises(ValueError, match=r"has no such DIN") as refused:
        to_state_dict("torch_rechub", DIN(SCHEMA), {"params": {}}, COLUMNS)
    assert "  fields is 'joined'; expected 'separate'\n" in str(refused.value)
    assert "  batch_norm is False; expected 'torch'" in str(refused.value)


@pytest.mark.parametrize(("source", "kinds"), [("deepctr_torch", "'AGRU' or 'AUGRU'"), ("torch_rechub", "'AUGRU'")])
def test_they_have_no_gates_that_read_the_input_alone(source, kinds):
    model = DIEN(SCHEMA, kind="minAUGRU", extractor="minGRU")
    with pytest.raises(ValueError, match=r"has no such DIEN") as refused:
        to_state_dict(source, model, {"params": {}}, COLUMNS)
    assert f"{kinds}\n" in str(refused.value) and "kind is 'minAUGRU'; expected" in str(refused.value)
    assert "  extractor is 'minGRU'; expected 'GRU'\n" in str(refused.value)


def test_the_inverse_of_a_view_is_derived_from_it():
    link = Link({"a": (2, 3), "b": (3,)}, "leaf", lambda a, b: np.concatenate([-a.T[::-1], b[:, None]], axis=1))
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.float32([7, 8, 9])
    leaf = link.view(a, b)
    assert link.leaf_shape == leaf.shape == (3, 3)
    same(link.inverse(leaf), {"a": a, "b": b})
