"""What must hold for every model: masks, candidates, padding, degenerate batches, and the two halves of a model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import builders
from variants import DICE_EVERYWHERE, INPUTS, VARIANTS, batch, evaluate, model, train, variables

REAL_BK = builders.make_batch().mask_BK


@pytest.fixture(params=VARIANTS | INPUTS)
def name(request):
    return request.param


def assert_finite(tree):
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def test_candidates_together_equal_each_alone(name):
    whole = batch(name)
    together = evaluate(name, whole).logit_BK
    alone = [evaluate(name, builders.one_candidate(whole, k)).logit_BK for k in range(3)]
    np.testing.assert_allclose(np.concatenate(alone, axis=1), together, atol=1e-5)
    assert len(np.unique(np.asarray(together)[REAL_BK])) == REAL_BK.sum()


def test_more_padding_changes_nothing(name):
    whole = batch(name)
    output, longer = evaluate(name, whole), evaluate(name, builders.more_padding(whole, 3))
    np.testing.assert_allclose(longer.logit_BK, output.logit_BK, atol=1e-5)
    if output.auxiliary is not None:
        real_BS, longer_BS = output.auxiliary.mask_BS, longer.auxiliary.mask_BS
        for which in ("positive_logit_BS", "negative_logit_BS"):
            expected, got = getattr(output.auxiliary, which)[real_BS], getattr(longer.auxiliary, which)[longer_BS]
            np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("name", DICE_EVERYWHERE)
def test_more_padding_changes_nothing_in_training(name):
    """Where padding could reach the loss, the gradients and the statistics."""
    whole = batch(name)
    grads, logit_BK, stats = train(name, whole)
    longer_grads, longer_BK, longer_stats = train(name, builders.more_padding(whole, 3))
    np.testing.assert_allclose(longer_BK[REAL_BK], logit_BK[REAL_BK], atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), longer_grads, grads)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), longer_stats, stats)


def test_padded_slots_get_exactly_no_gradient_and_change_nothing(name):
    """Padded slots of the history, its negatives and the candidates hold the ids 2, 3, 4, which stand nowhere else."""
    whole = batch(name)
    marked = whole.replace(
        history=builders.with_ids(whole.history, ~whole.mask_BT, 2),
        negative=builders.with_ids(whole.negative, ~whole.mask_BT, 3),
        candidate=builders.with_ids(whole.candidate, ~REAL_BK, 4),
    )
    grads, logit_BK, stats = train(name, whole)
    marked_grads, marked_BK, marked_stats = train(name, marked)
    for table, grad_VD in marked_grads["embedder"].items():
        assert (np.asarray(grad_VD[: builders.FIRST_REAL]) == 0).all(), table
        assert (np.asarray(grad_VD[builders.FIRST_REAL :]) != 0).any(), table
    np.testing.assert_array_equal(marked_BK[REAL_BK], logit_BK[REAL_BK])
    jax.tree.map(np.testing.assert_array_equal, (marked_grads, marked_stats), (grads, stats))


def test_a_filling_row_changes_nothing(name):
    """The last row has no candidate and no history: whatever else stands in it."""
    whole = batch(name)
    filled = whole.user["age"].copy()
    filled[-1] = 1e3
    grads, *_ = train(name, whole)
    jax.tree.map(np.testing.assert_array_equal, train(name, whole.replace(user=whole.user | {"age": filled}))[0], grads)


LENGTHS = {"empty": (0,) * 6, "one behaviour": (1,) * 6, "full": (4,) * 6}


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_degenerate_histories_are_finite(name, lengths):
    degenerate = batch(name, lengths)
    assert_finite(train(name, degenerate))
    assert_finite(evaluate(name, degenerate))


def test_a_batch_without_real_candidates_or_histories_has_no_gradient(name):
    grads, *_ = train(name, batch(name, (0,) * 6).replace(mask_BK=np.zeros_like(REAL_BK)))
    assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(grads))


def test_empty_histories_have_no_interest(name):
    """Their logits do not depend on what stands in the padding."""
    empty = batch(name, (0,) * 6)
    other = empty.replace(history=builders.with_ids(empty.history, ~empty.mask_BT, 7))
    np.testing.assert_array_equal(evaluate(name, other).logit_BK, evaluate(name, empty).logit_BK)


@pytest.mark.parametrize("bad", [-3, 10**6])
def test_an_id_outside_the_table_scores_as_unknown(name, bad):
    whole = batch(name)

    def logits(id):
        history = builders.with_ids(whole.history, whole.mask_BT, id)
        return evaluate(name, whole.replace(history=history, candidate=builders.with_ids(whole.candidate, REAL_BK, id)))

    np.testing.assert_array_equal(logits(bad).logit_BK, logits(1).logit_BK)


def test_a_model_is_its_net_on_its_embedding_and_every_input_reaches_its_own_logit(name):
    whole = batch(name)

    def logit(e):
        e = e.replace(mask_BT=whole.mask_BT, mask_BK=REAL_BK, channel_BT=whole.channel_BT)
        output = model(name).apply(variables(name), e, method="net")
        return output.logit_BK[2, 1], output

    embedded = evaluate(name, whole, method="embed").replace(mask_BT=None, mask_BK=None, channel_BT=None)
    gradient = jax.jit(jax.grad(logit, has_aux=True), compiler_options=builders.FAST_COMPILE)
    grads, output = jax.tree.map(np.asarray, gradient(embedded))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), output, evaluate(name, whole))

    own_B = np.arange(6) == 2
    own_BK = own_B[:, None] & (np.arange(3) == 1)
    for reached, own in [
        (grads.user_BU, own_B),
        (grads.history_BTE, own_B),
        (grads.candidate_BKE, own_BK),
        (grads.context_BKC, own_BK),
    ]:
        assert (reached[own] != 0).all() and not reached[~own].any()
    assert not grads.negative_BTE.any()


def test_without_negatives_there_is_no_auxiliary_output(name):
    without = batch(name, negatives=False)
    assert jax.eval_shape(model(name).apply, variables(name), without).auxiliary is None


@pytest.mark.parametrize("name", DICE_EVERYWHERE)
def test_one_history_slot_is_enough(name):
    """T = 1 leaves no auxiliary step; with nothing real in it either."""
    for lengths in [(1, 0, 1, 0, 1, 0), (0,) * 6]:
        assert_finite(train(name, batch(name, lengths, T=1)))


def test_logits_have_the_dtype_and_shape_of_the_candidates(name):
    whole = batch(name)
    output = jax.eval_shape(model(name).apply, variables(name), whole)
    assert (output.logit_BK.shape, output.logit_BK.dtype) == ((6, 3), jnp.float32)
