import json
from dataclasses import replace

import jax
import numpy as np
import pandas as pd
import pytest

import builders
from dienjax import Behaviour, Config, ModelConfig, Run, Schema, Sparse, Table
from dienjax.storage.files import write_json
from dienjax.storage.manifest import manifest_of
from dienjax.training import checkpoint
from dienjax.training.warm_start import (
    FRESH,
    carry_over,
    carry_weights,
    check_origin,
    count,
    match_rows,
    misfits,
    rows_by_id,
    rows_by_value,
    summary,
)

CONFIG = Config(ModelConfig("DIN", 2, {"attention_hidden": (3,), "tower": (3,), "attention_activation": "relu"}))
ITEMS, CITIES = ["b", "a", "c"], [30, 10]


def vocabulary(values):
    return pd.DataFrame({"id": range(2, 2 + len(values)), "value": values, "count": 1})


def schema(items=ITEMS, cities=CITIES):
    tables = (Table("item", 2 + len(items)), Table("city", 2 + len(cities)))
    return Schema(tables, (Behaviour("item"),), (Sparse("city"), Sparse("home", "city")))


def create(path, vocabularies, *, fields=None, config=CONFIG, complete=lambda run: None):
    """A run folder with the values of these tables, or with ready-made ids where there are none."""

    def fill(run):
        if vocabularies:
            (run.path / "vocab").mkdir()
        with manifest_of(run.path):
            for name, values in vocabularies.items():
                vocabulary(values).to_parquet(run.path / "vocab" / f"{name}.parquet")
        complete(run)

    return Run.create(path, config, fields or schema(*vocabularies.values()), complete=fill)


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A run of three items and two cities, stopped at step 7: every number in it is random."""

    def train(run):
        shapes = jax.eval_shape(lambda: run.initial_state(run.optimizer()))
        state = jax.tree.map(lambda leaf: np.full(leaf.shape, 7, leaf.dtype), shapes)
        checkpoint.save(run.path, "last", replace(state, **builders.randomised(state.variables)), {})

    return create(tmp_path_factory.mktemp("old") / "run", {"item": ITEMS, "city": CITIES}, complete=train)


def variables(item_VE, **other):
    return {"params": {"embedder": {"item": item_VE}, **other}, "batch_stats": {"mean": np.arange(2.0)}}


def test_rows_follow_their_values():
    """Permuted, grown and dropped at once; ids that are not in order are read, not counted."""
    new = vocabulary(["d", "a", "b"])[::-1]
    source_V = rows_by_value(vocabulary(ITEMS), new, 5, "table")
    assert source_V.tolist() == [0, 1, FRESH, 3, 2]
    assert count(source_V, 5) == {"carried": 2, "new": 1, "dropped": 1}
    old, fresh = (
        variables(np.arange(10.0).reshape(5, 2), bias=np.ones(3)),
        variables(-np.ones((5, 2)), bias=np.zeros(3)),
    )
    carried = carry_over(fresh, old, {"item": source_V})
    assert carried["params"]["embedder"]["item"].tolist() == [[0, 1], [2, 3], [-1, -1], [6, 7], [4, 5]]
    assert carried["params"]["bias"] is old["params"]["bias"] and carried["batch_stats"] is old["batch_stats"]


def test_numbers_are_equal_whatever_their_type():
    old, new = vocabulary([30, 10]), vocabulary([10.0, 30.5, 30.0])
    assert rows_by_value(old, new.astype({"value": "float32"}), 5, "table").tolist() == [0, 1, 3, FRESH, 2]
    text, category = vocabulary(["x", "y"]), vocabulary(["y", "x"]).astype({"value": "category"})
    assert rows_by_value(text, category, 4, "table").tolist() == [0, 1, 3, 2]


def test_an_empty_vocabulary_is_of_every_kind():
    assert rows_by_value(vocabulary([]), vocabulary([1]), 3, "table").tolist() == [0, 1, FRESH]
    assert rows_by_value(vocabulary(["a"]), vocabulary([]), 2, "table").tolist() == [0, 1]


def test_values_of_another_kind_are_refused():
    with pytest.raises(ValueError, match=r"^table 'item' holds string values such as 'b', .* numeric values such as 1"):
        rows_by_value(vocabulary(ITEMS), vocabulary([1, 2]), 4, "table 'item'")


def test_rows_by_id():
    assert rows_by_id(3, 3).tolist() == [0, 1, 2]
    assert rows_by_id(3, 5).tolist() == [0, 1, 2, FRESH, FRESH]


def test_a_misfit_is_listed_whatever_it_is():
    old = variables(np.ones((5, 2)), same=np.ones(1), gone=np.ones(3), tower={"kernel": np.ones((4, 8))})
    new = variables(np.ones((9, 3)), same=np.ones(1), added=np.ones(2), tower={"kernel": np.ones((4, 16))})
    expected = [
        "misshapen   params/embedder/item: (5, 2) -> (9, 3)",
        "misshapen   params/tower/kernel: (4, 8) -> (4, 16)",
        "missing     params/added: (2,)",
        "unexpected  params/gone: (3,)",
    ]
    assert misfits(new, old, {"item": rows_by_id(5, 9)}) == expected
    assert misfits(variables(np.ones((9, 2))), variables(np.ones((5, 2))), {"item": rows_by_id(5, 9)}) == []
    assert len(misfits(variables(np.ones((4, 2))), variables(np.ones((5, 2))), {})) == 1


def test_a_new_run_holds_the_old_rows_before_it_starts(old, tmp_path):
    vocabularies = {"item": ["x", "c", "b", "y"], "city": [10, 20]}
    new = create(tmp_path / "new", vocabularies, complete=lambda run: carry_weights(old.path, run))
    fresh, was = new.initial_state(new.optimizer()), old.variables()
    state, position = new.restore("last", new.optimizer())
    items, cities = (state.params["embedder"][name] for name in ("item", "city"))
    old_items, old_cities = (was["params"]["embedder"][name] for name in ("item", "city"))
    new_items, new_cities = (fresh.params["embedder"][name] for name in ("item", "city"))
    rows = [*old_items[:2], new_items[2], old_items[4], old_items[2], new_items[5]]
    np.testing.assert_array_equal(items, rows)
    np.testing.assert_array_equal(cities, [*old_cities[:2], old_cities[3], new_cities[3]])
    for name, leaf in checkpoint.named_leaves(state.variables).items():
        if "embedder" not in name:
            np.testing.assert_array_equal(leaf, checkpoint.named_leaves(was)[name], name)
    assert int(state.step) == 0 and position == {}
    assert not any(leaf.any() for leaf in checkpoint.named_leaves(state.opt_state).values())
    counts = {
        "item": {"carried": 2, "new": 2, "dropped": 1},
        "city": {"carried": 1, "new": 1, "dropped": 1},
    }
    assert json.loads((new.path / "init.json").read_text()) == {"from": str(old.path), "step": 7, "tables": counts}
    assert summary(new).splitlines()[0] == "item: 2 rows carried over, 2 new, 1 dropped"


def test_another_model_is_refused_with_every_difference_and_leaves_no_folder(old, tmp_path):
    tables = (Table("item", 5), Table("brand", 4))
    other = Schema(tables, (Behaviour("item"), Behaviour("brand")))
    options = {**CONFIG.model.options, "tower": (4,), "batch_norm": True}
    config = Config(ModelConfig("DIN", 2, options))
    with pytest.raises(ValueError, match="do not fit the new model") as refused:
        create(
            tmp_path / "new", {"item": ITEMS, "brand": ["p", "q"]}, fields=other, config=config,
            complete=lambda run: carry_weights(old, run),
        )  # fmt: skip
    assert [line.split(":")[0] for line in str(refused.value).splitlines()[1:-1]] == [
        "  behaviours",
        "  sparse",
        "  misshapen   batch_stats/tower/activation_0/dice/norm/mean",
        "  misshapen   batch_stats/tower/activation_0/dice/norm/var",
        "  misshapen   params/attention/kernel",
        "  misshapen   params/tower/activation_0/dice/alpha",
        "  misshapen   params/tower/dense_0/bias",
        "  misshapen   params/tower/dense_0/kernel",
        "  misshapen   params/tower/out/kernel",
        "  missing     batch_stats/tower/norm_0/mean",
        "  missing     batch_stats/tower/norm_0/var",
        "  missing     params/embedder/brand",
        "  missing     params/tower/norm_0/bias",
        "  missing     params/tower/norm_0/scale",
        "  unexpected  params/embedder/city",
    ]
    assert str(old.path / "config.toml") in str(refused.value) and "--init-from" in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_fields_in_another_order_are_refused(old, tmp_path):
    """They would fit, and feed the tower in the wrong order."""
    swapped = replace(old.schema, sparse=old.schema.sparse[::-1])
    new = create(tmp_path / "new", {"item": ITEMS, "city": CITIES}, fields=swapped)
    with pytest.raises(ValueError, match=r"sparse: \[Sparse\(name='city'.* -> \[Sparse\(name='home'"):
        carry_weights(old, new)


def test_ready_made_ids_are_matched_by_id_and_never_to_values(old, tmp_path):
    few = create(tmp_path / "few", {}, fields=schema(ITEMS, CITIES))
    many = create(tmp_path / "many", {}, fields=schema(["?"] * 5, CITIES))
    rows = match_rows(few, many)
    assert rows["item"].tolist() == [0, 1, 2, 3, 4, FRESH, FRESH] and rows["city"].tolist() == [0, 1, 2, 3]
    assert match_rows(many, few).keys() == {"city"}
    for runs in ((old, few), (few, old)):
        with pytest.raises(ValueError, match=r"ready-made ids.*no row of one is known"):
            match_rows(*runs)


def test_what_a_resumed_run_started_from(old, tmp_path):
    new = create(tmp_path / "new", {}, complete=lambda run: write_json(run.path / "init.json", {"from": str(old.path)}))
    check_origin(new, None)
    check_origin(new, old.path / ".." / "run")
    with pytest.raises(ValueError, match=r"it started from .*/old.*Leave --init-from out"):
        check_origin(new, tmp_path)
    with pytest.raises(ValueError, match="it started from fresh weights"):
        check_origin(old, new)


def test_rows_of_hashes_and_edges_are_carried_by_id(tmp_path):
    def fields(seed=0, edges=(1.0, 2.5), size=20):
        tables = (Table("item", 5), Table("site", size, seed=seed), Table("stars", 3 + len(edges), edges=edges))
        return Schema(tables, (Behaviour("item"), Behaviour("site"), Behaviour("stars")))

    old = create(tmp_path / "old", {"item": ITEMS}, fields=fields())
    rows = match_rows(old, create(tmp_path / "new", {"item": ["c", "x", "b"]}, fields=fields()))
    assert rows["item"].tolist() == [0, 1, 4, FRESH, 2]
    assert rows["site"].tolist() == list(range(20)) and rows["stars"].tolist() == list(range(5))
    for n, changed in enumerate(({"seed": 1}, {"size": 21}, {"edges": (1.0, 3.0)}, {"seed": None})):
        new = create(tmp_path / f"{n}", {"item": ITEMS}, fields=fields(**changed))
        name = "stars" if "edges" in changed else "site"
        with pytest.raises(ValueError, match=rf"table '{name}' of .*/old has .* expected the same: prepare .* --like"):
            match_rows(old, new)
