"""The libraries' side: their models with random weights, and what they compute, as NumPy arrays."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from deepctr_torch.inputs import DenseFeat, SparseFeat, VarLenSparseFeat
from deepctr_torch.models import DIEN as DeepCTRTorchDIEN
from deepctr_torch.models import DIN as DeepCTRTorchDIN
from torch.nn import functional as F
from torch_rechub.basic.features import DenseFeature, SequenceFeature, SparseFeature
from torch_rechub.basic.layers import InputMask
from torch_rechub.models.ranking import DIEN as TorchRechubDIEN
from torch_rechub.models.ranking import DIN as TorchRechubDIN

from dienjax.batch import Batch
from experiments.crosscheck_torch.compare import Arrays, Run
from experiments.crosscheck_torch.variants import Features, T, Variant

LEARNING_RATE = 1e-3


@contextmanager
def precision(dtype: str) -> Iterator[None]:
    """A block in which torch makes numbers of this dtype.

    deepctr-torch fixes the labels of its auxiliary loss to float32, which the loss refuses beside float64.
    """
    original = F.binary_cross_entropy

    def any_label(probability: torch.Tensor, label: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return original(probability, label.to(probability.dtype), *args, **kwargs)

    default = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with patch.object(F, "binary_cross_entropy", any_label):
            yield
    finally:
        torch.set_default_dtype(default)


def build(variant: Variant, slots: int = T) -> torch.nn.Module:
    """The library's model; deepctr-torch fixes the number of history slots."""
    behaviours = [b.name for b in variant.features.schema.behaviours]
    if variant.source == "deepctr_torch":
        model = {"DIN": DeepCTRTorchDIN, "DIEN": DeepCTRTorchDIEN}[variant.name]
        return model(deepctr_torch_columns(variant.features, slots, variant.negatives), behaviours, **variant.theirs)
    features, history, negative, target = torch_rechub_features(variant.features, variant.padding_idx)
    if variant.name == "DIN":
        model = TorchRechubDIN(features, history, target, **variant.theirs)
    else:
        model = TorchRechubDIEN(features, history, negative, target, alpha=variant.alpha, **variant.theirs)
    for module in model.modules():
        if isinstance(module, InputMask):  # whose masks are float32 in a model of float64 too
            module.register_forward_hook(lambda module, given, mask: mask.to(torch.get_default_dtype()))
    return model


def deepctr_torch_columns(features: Features, slots: int, negatives: bool) -> list[Any]:
    """The feature columns: `features.columns`, then the histories and the negatives."""
    schema = features.schema
    table = {f.name: schema.table(f.table) for f in schema.id_fields}

    def sparse(name: str, prefix: str = "") -> SparseFeat:
        rows = table[name]
        return SparseFeat(prefix + name, rows.size, embedding_dim=rows.dim, embedding_name=rows.name)

    sets = {f.name: f for f in schema.sparse if f.most}

    def column(name: str) -> Any:
        if name in sets:
            return VarLenSparseFeat(sparse(name), sets[name].most, combiner=sets[name].pool)
        return sparse(name) if name in table else DenseFeat(name, 1)

    columns = [column(name) for name in features.columns]
    for prefix in ("hist_", "neg_hist_") if negatives else ("hist_",):
        behaviours = [b.name for b in schema.behaviours]
        columns += [VarLenSparseFeat(sparse(name, prefix), slots, length_name="seq_length") for name in behaviours]
    return columns


def torch_rechub_features(features: Features, padding_idx: bool) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """(features, history, negative, target)."""
    schema = features.schema
    padding = {"padding_idx": 0} if padding_idx else {}
    table = {f.name: schema.table(f.table) for f in schema.id_fields}

    def sequences(prefix: str) -> list[Any]:
        return [
            SequenceFeature(
                prefix + b.name, table[b.name].size, table[b.name].dim, "concat", shared_with=b.name, **padding
            )
            for b in schema.behaviours
        ]

    sets = {f.name: f for f in schema.sparse if f.most}

    def other(name: str) -> Any:
        if name not in table:
            return DenseFeature(name)
        rows = table[name]
        if name not in sets:
            return SparseFeature(name, rows.size, rows.dim)
        owner = None if rows.name not in {b.name for b in schema.behaviours} else rows.name
        return SequenceFeature(name, rows.size, rows.dim, sets[name].pool, shared_with=owner, padding_idx=0)

    others = [other(name) for name in features.columns[len(schema.behaviours) :]]
    target = [SparseFeature(b.name, table[b.name].size, table[b.name].dim, **padding) for b in schema.behaviours]
    return others, sequences("hist_"), sequences("neg_hist_"), target


def random_weights(model: torch.nn.Module, seed: int) -> Arrays:
    """Load a random state_dict into the model, in which every parameter and every statistic matters, and return it."""
    rng = np.random.default_rng(seed)

    def draw(key: str, tensor: torch.Tensor) -> np.ndarray:
        shape, leaf = tuple(tensor.shape), key.rsplit(".", 1)[-1]
        if leaf == "num_batches_tracked":
            return np.zeros(shape, np.int64)
        if leaf == "running_var":
            return rng.uniform(0.5, 2.0, shape)
        if leaf == "weight" and len(shape) == 1:
            return rng.normal(1.0, 0.3, shape)
        if "embed" in key:
            return rng.normal(0.0, 0.8, shape)
        return rng.normal(0.0, 0.2 if len(shape) < 2 or shape[-1] == 1 else 1.2 * shape[-1] ** -0.5, shape)

    drawn = {key: draw(key, tensor) for key, tensor in model.state_dict().items()}
    load(model, {key: a.astype(np.float32) if a.dtype == np.float64 else a for key, a in drawn.items()})
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
                module.weight[module.padding_idx] = 0
    return state_of(model)


def load(model: torch.nn.Module, weights: Arrays) -> None:
    """Load these weights into the model; raises RuntimeError for a missing or unexpected key."""
    model.load_state_dict({key: torch.from_numpy(np.array(a)) for key, a in weights.items()}, strict=True)


def state_of(model: torch.nn.Module) -> Arrays:
    """The state_dict as copied arrays."""
    return {key: tensor.detach().numpy().copy() for key, tensor in model.state_dict().items()}


def inputs(model: torch.nn.Module, batch: Batch) -> Any:
    """The batch as the model takes it."""
    columns = {name: array[:, 0] for name, array in batch.candidate.items()} | dict(batch.user)
    columns |= {f"hist_{name}": array for name, array in batch.history.items()}
    columns |= {f"neg_hist_{name}": array for name, array in (batch.negative or {}).items()}
    if not hasattr(model, "feature_index"):
        return {name: torch.from_numpy(array) for name, array in columns.items()}
    columns["seq_length"] = batch.mask_BT.sum(1)
    matrix = np.concatenate([columns[name].reshape(len(batch.label_BK), -1) for name in model.feature_index], 1)
    return torch.tensor(matrix, dtype=torch.get_default_dtype())


def forward(model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """(probability_B, alpha × auxiliary loss)."""
    output = model(inputs(model, batch))
    if isinstance(output, tuple):
        return output
    return output[:, 0] if output.ndim == 2 else output, getattr(model, "aux_loss", torch.zeros(())).sum()


def evaluate(model: torch.nn.Module, batch: Batch) -> np.ndarray:
    """probability_B with running statistics."""
    model.eval()
    with torch.no_grad():
        return forward(model, batch)[0].numpy()


def run(variant: Variant, weights: Arrays, dtype: str, steps: int) -> Run:
    """What the library computes from these weights."""
    with precision(dtype):
        model = build(variant)
        load(model, weights)
        evaluated_B = evaluate(model, variant.batch(0))
        model.train()
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
        for step in range(steps):
            batch = variant.batch(step)
            probability_B, auxiliary = forward(model, batch)
            loss = F.binary_cross_entropy(probability_B, torch.from_numpy(batch.label_BK[:, 0])) + auxiliary
            optimizer.zero_grad()
            loss.backward()
            if step == 0:
                first = probability_B.detach().numpy().copy(), auxiliary.item() / (variant.alpha or 1.0)
                gradients = {key: p.grad.numpy().copy() for key, p in model.named_parameters()}
            optimizer.step()
        return Run(evaluated_B, *first, gradients, state_of(model))
