"""A run that was trained in bfloat16 is exported in float32, and compared with JAX in float32."""

import json
from dataclasses import replace

import numpy as np
import pytest

from builders import SCHEMA
from dienjax.export import export_run
from dienjax.export.graphs import in_float32
from dienjax.export.split_parity import OnSplit
from dienjax.models import DIEN, DIN
from exporting import make_run


def test_in_float32():
    for kind in (DIN, DIEN):
        assert in_float32(kind(SCHEMA, dtype="bfloat16", tower=(3,))) == kind(SCHEMA, tower=(3,))
    model = DIEN(SCHEMA)
    assert in_float32(model) is model


def test_a_split_is_scored_in_float32(run, drift_store):
    options = run.config.model.options | {"dtype": "bfloat16"}
    other = replace(run, config=replace(run.config, model=replace(run.config.model, options=options)))
    wants = [OnSplit(r, r.variables(), "valid", str(drift_store.path)).want.logit_NK for r in (run, other)]
    np.testing.assert_array_equal(*wants)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "stablehlo"])
def test_an_export_is_that_of_the_same_weights_in_float32(form, tmp_path):
    if form == "onnx":
        pytest.importorskip("jax2onnx")
    files = {}
    for dtype in ("float32", "bfloat16"):
        run = make_run(tmp_path / dtype, {"name": "DIEN", "kind": "GRU", "attention": "bilinear", "dtype": dtype})
        export_run(run, tmp_path / f"{dtype}_exported", form=form)
        files[dtype] = json.loads((tmp_path / f"{dtype}_exported/export.json").read_text())["files"]
    if form == "stablehlo":  # an ONNX graph holds the run's config too
        assert files["float32"] == files["bfloat16"]
    assert files["float32"].keys() == files["bfloat16"].keys()
