"""Reference files of the libraries' models, by which tests check dienjax where torch is not installed."""

import json
from pathlib import Path

import numpy as np
import torch

from dienjax.batch import Batch
from dienjax.storage.files import new_file
from experiments.crosscheck_torch import theirs
from experiments.crosscheck_torch.catalogue import (
    deepctr_torch_dien,
    deepctr_torch_din,
    torch_rechub_dien,
    torch_rechub_din,
)
from experiments.crosscheck_torch.compare import Arrays, without_effect
from experiments.crosscheck_torch.variants import FIELDS, FIELDS_DENSE, MIXED, ONE_FIELD, SHARED, Variant

FOLDER = Path(__file__).parents[2] / "tests" / "reference" / "frozen"

FROZEN = (
    deepctr_torch_din("default"),
    deepctr_torch_din("softmax", softmax=True),
    deepctr_torch_din("batch_norm_prelu", MIXED, attention="prelu", tower="prelu", batch_norm=True),
    deepctr_torch_dien("augru"),
    deepctr_torch_dien("agru_mixed", MIXED, "AGRU", softmax=False),
    deepctr_torch_dien("aigru_no_negatives", kind="AIGRU", alpha=0.0),
    deepctr_torch_dien("gru_shared", SHARED, "GRU"),
    torch_rechub_din("default", FIELDS),
    torch_rechub_din("softmax_two_layers", ONE_FIELD, softmax=True, dims=(6, 4)),
    torch_rechub_dien("dense", FIELDS_DENSE),
)
WITH_GRADIENTS = ("deepctr_torch_DIN_default", "deepctr_torch_DIEN_augru", "torch_rechub_DIN_default",
                  "torch_rechub_DIEN_dense")  # fmt: skip


def freeze_all() -> None:
    """Write a file for each variant to tests/reference/frozen."""
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for seed, variant in enumerate(FROZEN):
        name = f"{variant.source}_{variant.name}_{variant.title}"
        path = FOLDER / f"{name}.npz"
        with new_file(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **frozen(variant, seed, gradients=name in WITH_GRADIENTS))
        print(f"wrote {path} ({path.stat().st_size / 1024:.0f} KiB)")


def frozen(variant: Variant, seed: int, gradients: bool) -> Arrays:
    """The arrays of one file: meta (JSON), state/..., batch/..., what the library computes in float64.

    With `gradients` also those of mean logistic loss + alpha × auxiliary loss; `without_effect` in meta names the
    parameters whose true gradient is 0.
    """
    weights = theirs.random_weights(theirs.build(variant), seed)
    run = theirs.run(variant, weights, "float64", steps=1)
    meta = {
        "source": variant.source,
        "model": variant.name,
        "schema": variant.features.schema.to_json(),
        "columns": variant.features.columns,
        "options": variant.ours,
        "alpha": variant.our_alpha,
        "without_effect": without_effect(run.gradients),
    }
    arrays = {f"state/{key}": a for key, a in weights.items()} | batch_arrays(variant.batch(0))
    arrays |= {"evaluated_B": run.evaluated_B, "trained_B": run.trained_B}
    arrays |= {"auxiliary": np.array(run.auxiliary * variant.alpha), "meta": np.array(json.dumps(meta))}
    if gradients:
        arrays |= {f"gradient/{key}": a.astype(np.float32) for key, a in run.gradients.items()}
    return arrays


def batch_arrays(batch: Batch) -> Arrays:
    """The arrays of a batch by path."""
    groups = {name: getattr(batch, name) or {} for name in ("user", "history", "candidate", "negative")}
    arrays = {f"batch/{group}/{name}": a for group, of_group in groups.items() for name, a in of_group.items()}
    return arrays | {f"batch/{name}": getattr(batch, name) for name in ("mask_BT", "mask_BK", "label_BK")}
