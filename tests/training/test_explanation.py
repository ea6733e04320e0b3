"""What `explain` tells is what the model computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import builders
from builders import SCHEMA, make_batch
from dienjax import explain, predict
from dienjax.models import DIEN, DIN
from dienjax.training import checkpoint
from dienjax.training.config import Config
from dienjax.training.explanation import Explanation, Intermediates, intermediates, next_logits
from dienjax.training.run import Run

SIZES = {"attention_hidden": (4,), "tower": (5,)}
MODELS = {
    "din": DIN(SCHEMA, **SIZES),
    "augru": DIEN(SCHEMA, kind="AUGRU", auxiliary_hidden=(4,), **SIZES),
    "author": DIEN(SCHEMA, kind="AUGRU", gate="author", auxiliary_hidden=(4,), **SIZES),
    "agru": DIEN(SCHEMA, kind="AGRU", auxiliary_hidden=(4,), **SIZES),
    "gru": DIEN(SCHEMA, kind="GRU", auxiliary_hidden=(4,), **SIZES),
    "separate": DIEN(SCHEMA, kind="AIGRU", fields="separate", auxiliary="inner", **SIZES),
    "min separate": DIEN(SCHEMA, kind="minAUGRU", fields="separate", auxiliary="inner", **SIZES),
}
BATCH = make_batch((0, 1, 4, 2, 3, 0))


def computed(name, batch=BATCH):
    model = MODELS[name]
    variables = builders.random_variables(model, BATCH)
    return model, variables, intermediates(model, variables, batch)


@pytest.mark.parametrize("name", MODELS)
def test_the_logits_are_those_of_the_model(name):
    model, variables, found = computed(name)
    output = builders.apply(model, variables, BATCH)
    np.testing.assert_allclose(found.logit_BK, output.logit_BK, atol=1e-6)
    if output.auxiliary is None:
        assert found.next_logit_BS is None
    else:
        np.testing.assert_allclose(found.next_logit_BS, output.auxiliary.positive_logit_BS, atol=1e-6)
        np.testing.assert_allclose(found.negative_logit_BS, output.auxiliary.negative_logit_BS, atol=1e-6)


def test_without_negatives_the_next_behaviour_is_judged_all_the_same():
    _, _, with_them = computed("augru")
    _, _, without = computed("augru", make_batch((0, 1, 4, 2, 3, 0), negatives=False))
    np.testing.assert_allclose(without.next_logit_BS, with_them.next_logit_BS, atol=1e-6)
    assert without.negative_logit_BS is None


@pytest.mark.parametrize("name", ["augru", "author", "agru"])
def test_gates_and_attention_fit_together(name):
    """AUGRU: û = a·u, below a; AGRU: û = a; the authors' form: 1 − (1 − a)(1 − u), above a."""
    _, _, found = computed(name)
    weight_BKT1 = found.weight_BKT["target_attention"][..., None]
    gate_BKTH = found.gate_BKTH["evolution"]
    real = (BATCH.mask_BT[:, None] & BATCH.mask_BK[:, :, None])[..., None]
    difference = np.asarray(gate_BKTH - weight_BKT1)
    expected = {"augru": difference <= 1e-6, "author": difference >= -1e-6, "agru": np.abs(difference) < 1e-6}[name]
    assert (expected | ~real).all()
    assert found.gate_BKTH["extractor"].shape[1] == 1, "all candidates share the extractor"


def test_every_field_has_its_own():
    _, _, found = computed("separate")
    assert {*found.weight_BKT} == {"target_attention_item", "target_attention_category"}
    assert {*found.gate_BKTH} == {
        f"{part}_{field}" for part in ("extractor", "evolution") for field in ("item", "category")
    }
    assert found.state_BKTH["extractor_item"].shape == (6, 1, 4, 3)


def test_it_is_a_pure_function_under_jit():
    model, variables, found = computed("augru")
    jitted = jax.jit(lambda v, b: intermediates(model, v, b))(variables, BATCH)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), jitted, found)


def test_what_is_left_of_each_behaviour_by_hand():
    gate_NKTH = jnp.array([0.5, 0.0, 0.5, 1.0, 0.25]).reshape(1, 1, 5, 1)
    arrays = Intermediates(None, {}, {"evolution": gate_NKTH}, {}, None, None)
    left_NKT = Explanation(np.ones((1, 5), bool), np.ones((1, 1), bool), arrays).left_NKT()
    np.testing.assert_allclose(left_NKT, [[[0, 0, 0, 0.75, 0.25]]])


def test_raw_rows(run):
    """Short and long histories, unknown values, several candidates; padding is 0 in everything."""
    frame = pd.DataFrame({"hist_item": [[3, 4, -5], [], [7]], "item": [[1, 2], [3], [4, 5]]})
    frame = frame.assign(hist_category=frame["hist_item"], category=frame["item"])
    seen = explain(run, frame)
    assert seen.mask_NT.sum(axis=1).tolist() == [3, 0, 1]
    assert seen.mask_NK.sum(axis=1).tolist() == [2, 1, 2]
    probability_M = np.concatenate(predict(run, frame)["probability"].tolist())
    np.testing.assert_allclose(1 / (1 + np.exp(-seen.arrays.logit_BK[seen.mask_NK])), probability_M, atol=1e-5)
    both_NKT = seen.mask_NK[:, :, None] & seen.mask_NT[:, None]
    weight_NKT = seen.arrays.weight_BKT["target_attention"]
    assert (weight_NKT[~both_NKT] == 0).all()
    np.testing.assert_allclose(weight_NKT.sum(axis=2)[seen.mask_NK], [1, 1, 0, 1, 1], atol=1e-5)
    left_NKT = seen.left_NKT()
    assert (left_NKT[~both_NKT] == 0).all() and (left_NKT.sum(axis=2) <= 1).all()
    with pytest.raises(TypeError, match="explain: the rows are a dict; expected a pandas DataFrame or a Batch"):
        explain(run, frame.to_dict())


def test_a_run_without_auxiliary_loss_has_no_auxiliary_logits(tmp_path):
    """Its model has no weights for them."""
    config = Config.from_dict({"model": {"name": "DIEN", **SIZES}, "loss": {"alpha": 0.0}})
    run = Run.create(tmp_path / "run", config, SCHEMA)
    checkpoint.save(run.path, "last", run.initial_state(run.optimizer()), {})
    for batch in (BATCH, make_batch((0, 1, 4, 2, 3, 0), negatives=False)):
        seen = explain(run, batch)
        assert seen.arrays.next_logit_BS is None and seen.arrays.negative_logit_BS is None
        assert {*seen.arrays.weight_BKT} == {"target_attention"}


def saved_run(folder, model, alpha=1.0):
    """A run with random weights."""
    config = Config.from_dict({"model": {"name": "DIEN", **SIZES, **model}, "loss": {"alpha": alpha}})
    run = Run.create(folder / "run", config, SCHEMA)
    state = run.initial_state(run.optimizer())
    checkpoint.save(run.path, "last", state.replace(params=builders.randomised(state.params)), {})
    return run


SEPARATE = {"fields": "separate", "auxiliary": "inner"}


def test_the_auxiliary_logits_of_separate_fields_stand_side_by_side(tmp_path):
    run = saved_run(tmp_path, SEPARATE)
    variables = run.variables()
    found = explain(run, BATCH, variables).arrays
    state_NTH, table = (found.state_BKTH["extractor_category"][:, 0], variables["params"]["embedder"]["category"])
    expected_NS = np.sum(state_NTH[:, :-1] * table[BATCH.history["category"][:, 1:]], axis=-1) * BATCH.mask_BT[:, 1:]
    np.testing.assert_allclose(found.next_logit_BS[:, 3:], expected_NS, atol=1e-5)
    assert found.negative_logit_BS.shape == (6, 6)


@pytest.mark.parametrize("model", [{"auxiliary_hidden": [4]}, SEPARATE, {"auxiliary": "inner"}])
def test_any_behaviour_can_be_asked_for(tmp_path, model):
    """The one that came next has the logit that the auxiliary loss has seen."""
    run = saved_run(tmp_path, model)
    arrays = explain(run, BATCH).arrays
    for row, step in ((2, 0), (2, 2), (4, 1)):
        id_V = {name: history[row] for name, history in BATCH.history.items()}
        state_NH = {name: state_NKTH[:, 0, step] for name, state_NKTH in arrays.state_BKTH.items()}
        logit_NV = next_logits(run, state_NH, id_V)
        assert logit_NV.shape == (6, 4)
        expected = arrays.next_logit_BS.reshape(6, -1, 3).mean(axis=1)[row, step]
        np.testing.assert_allclose(logit_NV[row, step + 1], expected, atol=1e-5)


def test_what_comes_next_must_have_been_learned(tmp_path):
    run = saved_run(tmp_path, {}, alpha=0.0)
    with pytest.raises(
        ValueError, match=r"has not learned which behaviour comes next; expected a DIEN .* loss.alpha > 0"
    ):
        next_logits(run, {}, {})
