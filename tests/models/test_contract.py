"""What a model returns is checked once, before anything is trained."""

from dataclasses import replace

import jax.numpy as jnp
import pytest
from flax import linen as nn

from builders import SCHEMA
from dienjax.models import DIEN, DIN, Output
from dienjax.models.contract import check_class, check_model
from dienjax.models.embedding import FeatureEmbedder
from dienjax.schema import Schema


class Own(nn.Module):
    """Adds the candidate's numbers up; `fault` says what is wrong with it."""

    schema: Schema
    fault: str = ""

    def setup(self):
        self.embedder = FeatureEmbedder(self.schema)
        self.other = FeatureEmbedder(replace(self.schema, tables=self.schema.tables))
        self.counter = self.variable("counters", "calls", lambda: 0) if self.fault == "collection" else None

    def __call__(self, batch, train=False):
        return self.net(self.embed(batch), train)

    def embed(self, batch):
        return (self.other if self.fault == "tables" else self.embedder)(batch)

    def net(self, e, train=False):
        logit_BK = jnp.sum(e.candidate_BKE, axis=-1)
        if self.fault == "output":
            return logit_BK
        return Output(logit_BK[:, :1] if self.fault == "logits" else logit_BK)


class WithAuxiliary(Own):
    auxiliary: str = "promised"


def test_dien_din_and_a_model_without_a_fault():
    for model in (DIN(SCHEMA), DIEN(SCHEMA), Own(SCHEMA)):
        check_class(type(model), "it")
        check_model(model, "it", isinstance(model, DIEN))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("tables", r"has the tables \{\} in params\['embedder'\]; expected .*'item': \(12, 3\)"),
        ("collection", r"has the collections \['counters'\]; expected params and batch_stats alone"),
        ("output", "returns a ShapeDtypeStruct; expected a dienjax.models.Output"),
        ("logits", r"returns logits of shape \(2, 1\) for 2 histories of 4 candidates; expected \(2, 4\)"),
    ],
)
def test_what_is_wrong_is_said(fault, message):
    with pytest.raises((TypeError, ValueError), match=f"model it {message}|net of model it {message}"):
        check_model(Own(SCHEMA, fault), "it", False)


def test_an_auxiliary_loss_that_is_promised_is_given():
    check_model(WithAuxiliary(SCHEMA), "it", False)
    with pytest.raises(ValueError, match=r"returns no auxiliary logits.*expected Output.auxiliary, or loss.alpha=0"):
        check_model(WithAuxiliary(SCHEMA), "it", True)
