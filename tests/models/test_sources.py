"""Variants named after their source against float64 oracles, and what they refuse."""

import jax
import numpy as np
import pytest

import builders
from dienjax.models import DIEN
from dienjax.models.layers import MaskedBatchNorm
from reference import models as oracle
from variants import SOURCES, evaluate, variables

BATCH = builders.make_batch()


@pytest.mark.parametrize("name", SOURCES)
def test_logits(name):
    model, output = SOURCES[name], evaluate(name, BATCH)
    np.testing.assert_allclose(output.logit_BK, oracle.logits(model, variables(name), BATCH), atol=1e-5)
    if not isinstance(model, DIEN):
        return
    real = np.asarray(output.auxiliary.mask_BS)
    fields = len(oracle.fields(model))
    np.testing.assert_array_equal(real, np.tile(BATCH.mask_BT[:, 1:], (1, fields)))
    expected = oracle.auxiliary_logits(model, variables(name), BATCH)
    got = output.auxiliary.positive_logit_BS, output.auxiliary.negative_logit_BS
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(np.asarray(ours)[real], theirs[real], atol=1e-5)


def test_torch_statistics_count_padding_and_are_unbiased():
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    mask = np.array([True, False, True, True, False])
    norm = MaskedBatchNorm(momentum=0.9, torch=True)
    y, stats = norm.apply(norm.init(jax.random.key(0), x, mask, False), x, mask, True, mutable="batch_stats")
    np.testing.assert_allclose(y, (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5), atol=1e-5)
    np.testing.assert_allclose(stats["batch_stats"]["mean"], 0.1 * x.mean(0), atol=1e-6)
    np.testing.assert_allclose(stats["batch_stats"]["var"], 0.9 + 0.1 * x.var(0, ddof=1), atol=1e-6)


def test_separate_fields_have_states_of_their_own_width():
    with pytest.raises(ValueError, match=r"fields=\"separate\" with state=4.*expected state=0"):
        DIEN(builders.SCHEMA, fields="separate", state=4)
