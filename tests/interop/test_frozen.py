"""Weights of deepctr-torch 0.3.0 and torch-rechub 0.9.0 give here what they gave there, without torch.

The files are written by `python -m experiments.crosscheck_torch --freeze`: weights, a batch, and what the library
computed in float64.
"""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

import builders
from dienjax import Schema
from dienjax.batch import Batch
from dienjax.interop import from_state_dict, to_state_dict
from dienjax.training.losses import LossConfig, total_loss

FILES = sorted((Path(__file__).parents[1] / "reference" / "frozen").glob("*.npz"))
FLOOR = 0.01
"""The gradient of one bias is a sum that may cancel: differences count relative to this much of the model's largest."""


class Frozen:
    """One file: the library's numbers, and our module with its weights."""

    def __init__(self, path):
        with np.load(path) as file:
            arrays = dict(file)
        self.arrays, self.meta = arrays, json.loads(str(arrays["meta"]))
        self.state = self.group("state")
        source, name = self.meta["source"], self.meta["model"]
        self.schema, self.columns = Schema.from_json(self.meta["schema"]), self.meta["columns"]
        self.model, self.variables = from_state_dict(
            source, name, self.schema, self.state, self.columns, **self.meta["options"]
        )
        self.batch = Batch(
            user=self.group("batch/user"),
            history=self.group("batch/history"),
            candidate=self.group("batch/candidate"),
            negative=self.group("batch/negative") or None,
            **{name: arrays[f"batch/{name}"] for name in ("mask_BT", "mask_BK", "label_BK")},
        )

    def group(self, prefix):
        return {k.removeprefix(f"{prefix}/"): a for k, a in self.arrays.items() if k.startswith(f"{prefix}/")}

    def loss(self, params):
        """(loss, (probability_B, weighted auxiliary loss)) in train mode."""
        variables = self.variables | {"params": params}
        output, _ = self.model.apply(variables, self.batch, train=True, mutable=["batch_stats"])
        loss, parts = total_loss(output, self.batch, params, LossConfig(alpha=self.meta["alpha"]))
        return loss, (jax.nn.sigmoid(output.logit_BK[:, 0]), self.meta["alpha"] * parts.get("auxiliary_loss", 0.0))


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def frozen(request):
    return Frozen(request.param)


def compiled(function):
    return jax.jit(function, compiler_options=builders.FAST_COMPILE)


def test_there_are_files_for_both_libraries_and_models():
    assert {"_".join(path.stem.split("_")[:3]) for path in FILES} == {
        "deepctr_torch_DIN", "deepctr_torch_DIEN", "torch_rechub_DIN", "torch_rechub_DIEN",
    }  # fmt: skip


def test_outputs_and_gradients_are_the_library_s(frozen):
    frozen.batch.check(frozen.schema)
    wants_gradients = frozen.group("gradient")

    def everything(params):
        variables = frozen.variables | {"params": params}
        evaluated_B = jax.nn.sigmoid(frozen.model.apply(variables, frozen.batch).logit_BK[:, 0])
        if wants_gradients:
            (_, outputs), gradients = jax.value_and_grad(frozen.loss, has_aux=True)(params)
            return evaluated_B, *outputs, gradients
        return evaluated_B, *frozen.loss(params)[1], {}

    evaluated_B, trained_B, auxiliary, gradients = compiled(everything)(frozen.variables["params"])
    np.testing.assert_allclose(evaluated_B, frozen.arrays["evaluated_B"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(trained_B, frozen.arrays["trained_B"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(auxiliary, frozen.arrays["auxiliary"], rtol=0, atol=1e-6)
    if wants_gradients:
        check_gradients(frozen, wants_gradients, gradients)


def check_gradients(frozen, expected, gradients):
    variables = {"params": gradients, "batch_stats": frozen.variables["batch_stats"]}
    got = to_state_dict(frozen.meta["source"], frozen.model, variables, frozen.columns)
    largest = {key: np.abs(a).max() for key, a in expected.items()}
    floor = FLOOR * max(largest.values())
    for key, a in expected.items():
        scale = max(largest[key], floor)
        loose = 1e-4 if key in frozen.meta["without_effect"] else 1e-5
        assert np.abs(got[key] - a).max() <= loose * scale, key


def test_the_weights_come_back_bit_for_bit(frozen):
    back = to_state_dict(frozen.meta["source"], frozen.model, frozen.variables, frozen.columns)
    assert back.keys() == frozen.state.keys()
    for key, a in frozen.state.items():
        assert back[key].dtype == a.dtype and back[key].tobytes() == a.tobytes(), key
