"""Where the other library crashes or is wrong: every line is measured here, beside what dienjax does."""

import contextlib
import dataclasses
import importlib.util
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import torch

from dienjax.batch import Batch
from experiments.crosscheck_torch import ours, theirs
from experiments.crosscheck_torch.catalogue import (
    deepctr_torch_dien,
    deepctr_torch_din,
    torch_rechub_dien,
    torch_rechub_din,
)
from experiments.crosscheck_torch.compare import Arrays, gradient_differences
from experiments.crosscheck_torch.variants import (
    FIELDS,
    ITEM_ONLY,
    LENGTHS,
    ONE_FIELD,
    PROFILE,
    T,
    Variant,
    random_batch,
)

Observation = dict[str, str]


class Pair:
    """A variant with the same random weights on both sides."""

    def __init__(self, variant: Variant, slots: int = T) -> None:
        self.variant = variant
        self.model = theirs.build(variant, slots)
        self.weights: Arrays = theirs.random_weights(self.model, 0)
        self.module, self.variables = ours.build(variant, self.weights)

    def batch(self, lengths: tuple[int, ...] = LENGTHS) -> Batch:
        return random_batch(self.variant.features.schema, lengths, T, 0, self.variant.negatives)

    def theirs_B(self, batch: Batch) -> np.ndarray:
        return theirs.evaluate(self.model, batch)

    def ours_B(self, batch: Batch) -> np.ndarray:
        return np.asarray(ours.probability(self.module, self.variables, batch))


def observations() -> list[Observation]:
    """One line per behaviour."""
    found = [
        empty_history_under_softmax(),
        all_histories_empty(),
        dice_in_the_tower(),
        order_of_history_columns(),
        padding_takes_part(),
        left_padding(),
        padding_without_padding_idx(),
        one_row_in_training(),
        no_other_features(),
        default_trainer(),
    ]
    onnx = exported_history_length()
    return [*found, onnx] if onnx else found


def empty_history_under_softmax() -> Observation:
    pair = Pair(deepctr_torch_din("", softmax=True))
    batch = pair.batch()
    empty_B = ~batch.mask_BT.any(1)
    theirs_B, ours_B = pair.theirs_B(batch), pair.ours_B(batch)
    padding = pair.model.embedding_dict["item"].weight
    with torch.no_grad():
        padding[0] += 1
    moved_B = np.abs(pair.theirs_B(batch) - theirs_B)
    rest = np.abs(theirs_B - ours_B)[~empty_B].max()
    return _line(
        "deepctr-torch",
        "DIN",
        "empty history, softmax on",
        f"averages the padding row: moving that row moves the probability by {moved_B[empty_B].max():.0e}",
        f"interest 0 (probability {np.abs(theirs_B - ours_B)[empty_B].max():.0e} apart; other rows {rest:.0e})",
    )


def all_histories_empty() -> Observation:
    pair = Pair(deepctr_torch_dien(""))
    batch = pair.batch((0, 0, 0))
    return _line(
        "deepctr-torch",
        "DIEN",
        "every history of a batch is empty",
        _error(lambda: pair.theirs_B(batch)),
        f"probabilities {', '.join(f'{p:.3f}' for p in pair.ours_B(batch))}",
    )


def dice_in_the_tower() -> Observation:
    pair = Pair(deepctr_torch_din(""))
    variant, module = deepctr_torch_din("", tower="dice"), dataclasses.replace(pair.module, tower_activation="dice")
    batch = pair.batch()
    variables = jax.jit(module.init)(jax.random.key(0), batch)
    return _line(
        "deepctr-torch",
        "DIN",
        "Dice in the tower",
        _error(lambda: theirs.evaluate(theirs.build(variant), batch)),
        f"tower_activation='dice': {_finite(ours.probability(module, variables, batch))}",
    )


def order_of_history_columns() -> Observation:
    pair = Pair(deepctr_torch_din(""))
    batch = pair.batch()
    right_B = pair.theirs_B(batch)
    columns = theirs.deepctr_torch_columns(PROFILE, T, False)
    swapped = theirs.DeepCTRTorchDIN([*columns[:-2], columns[-1], columns[-2]], ["item", "category"],
                                     **pair.variant.theirs)  # fmt: skip
    theirs.load(swapped, pair.weights)
    renamed = batch.replace(history=dict(reversed(batch.history.items())))
    return _line(
        "deepctr-torch",
        "DIN",
        "history columns in another order than the candidate's",
        "compares the item with past categories: probability "
        f"{np.abs(theirs.evaluate(swapped, batch) - right_B).max():.0e} off, no error",
        f"fields go by name: moves by {np.abs(pair.ours_B(renamed) - pair.ours_B(batch)).max():.0e}",
    )


def padding_takes_part() -> Observation:
    pair = Pair(torch_rechub_din("", FIELDS))
    batch = pair.batch()
    moved = np.abs(pair.theirs_B(more_padding(batch)) - pair.theirs_B(batch)).max()
    masked = dataclasses.replace(pair.module, padding="masked")
    variables = pair.variables
    change = np.abs(
        ours.probability(masked, variables, more_padding(batch)) - ours.probability(masked, variables, batch)
    ).max()
    return _line(
        "torch-rechub",
        "DIN",
        "the same histories with twice the padding",
        f"padding takes part in the attention: probability moves by {moved:.0e}",
        f"padding='masked' (default): moves by {change:.0e}",
    )


def left_padding() -> Observation:
    pair = Pair(torch_rechub_dien("", FIELDS))
    batch = pair.batch()
    shifted = Batch(
        user=batch.user,
        history=_to_the_right(batch.history, batch.mask_BT),
        candidate=batch.candidate,
        mask_BT=batch.mask_BT[:, ::-1],
        mask_BK=batch.mask_BK,
        label_BK=batch.label_BK,
        negative=_to_the_right(batch.negative or {}, batch.mask_BT),
    )
    apart = np.abs(pair.theirs_B(shifted) - pair.theirs_B(batch)).max()
    return _line(
        "torch-rechub",
        "DIEN",
        "left-padded histories (the default of its pad_sequences)",
        f"its GRU reads the padding and drops behaviours: probability {apart:.0e} off, no error",
        _error(lambda: shifted.check(pair.variant.features.schema)),
    )


def padding_without_padding_idx() -> Observation:
    variant = torch_rechub_dien("", FIELDS)
    pair = Pair(variant)
    for feature in pair.model.history_features:
        feature.padding_idx = None
    batch = pair.batch()
    apart = np.abs(pair.theirs_B(more_padding(batch)) - pair.theirs_B(batch)).max()
    change = np.abs(pair.ours_B(more_padding(batch)) - pair.ours_B(batch)).max()
    return _line(
        "torch-rechub",
        "DIEN",
        "padding_idx left out, twice the padding",
        f"padding counts as behaviours: probability moves by {apart:.0e}",
        f"moves by {change:.0e}",
    )


def one_row_in_training() -> Observation:
    pair = Pair(torch_rechub_din("", FIELDS))
    batch = pair.batch((3,))
    pair.model.train()
    output, _ = pair.module.apply(pair.variables, batch, train=True, mutable=["batch_stats"])
    return _line(
        "torch-rechub",
        "DIN",
        "a training batch of one row",
        _error(lambda: theirs.forward(pair.model, batch)),
        _finite(output.logit_BK),
    )


def no_other_features() -> Observation:
    pair = Pair(torch_rechub_dien("", ONE_FIELD))
    pair.model.features = []
    module = dataclasses.replace(pair.module, schema=ITEM_ONLY.schema)
    batch = random_batch(module.schema, LENGTHS, T, 0, negatives=True)
    return _line(
        "torch-rechub",
        "DIN, DIEN",
        "no features beside the behaviours",
        _error(lambda: pair.theirs_B(pair.batch())),
        _finite(ours.probability(module, jax.jit(module.init)(jax.random.key(0), batch), batch)),
    )


def default_trainer() -> Observation:
    from torch_rechub.trainers import CTRTrainer

    pair = Pair(torch_rechub_dien("", FIELDS))
    batch = pair.batch()
    loader = [(theirs.inputs(pair.model, batch), torch.from_numpy(batch.label_BK[:, 0]))]
    with _quiet():
        error = _error(lambda: CTRTrainer(pair.model, n_epoch=1).train_one_epoch(loader))
    return _line(
        "torch-rechub",
        "DIEN",
        "its CTRTrainer with default arguments",
        error,
        f"one training step: {_finite(ours.run(pair.variant, pair.weights, 'float32', 1).trained['mlp.mlp.0.weight'])}",
    )


def exported_history_length() -> Observation | None:
    """How torch-rechub's ONNX export fails for other lengths; None without the ONNX packages.

    It traces its AUGRU, a Python loop, over the slots of a dummy input.
    """
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")):
        return None
    import onnxruntime
    from torch_rechub.trainers import CTRTrainer

    pair = Pair(torch_rechub_dien("", FIELDS))
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = f"{folder}/dien.onnx"
        CTRTrainer(pair.model, loss_mode=False).export_onnx(path)
        session = onnxruntime.InferenceSession(path)

    def apart(slots: int) -> float:
        batch = random_batch(pair.variant.features.schema, (slots,) * 4, slots, 0, negatives=True)
        arrays = {name: tensor.numpy().astype(np.int64) for name, tensor in theirs.inputs(pair.model, batch).items()}
        exported_B = session.run(None, {i.name: arrays[i.name] for i in session.get_inputs()})[0].ravel()
        return float(np.abs(exported_B - pair.theirs_B(batch)).max())

    return _line(
        "torch-rechub",
        "DIEN",
        "its ONNX export with default arguments, 25 behaviours",
        f"the AUGRU ends after 10: probability {apart(25):.0e} off torch's (10 behaviours: {apart(10):.0e}), no error",
        "exports a loop of any length (tests/export)",
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """A block without the exporter's pages of warnings."""
    logging.disable(logging.CRITICAL)
    silence = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    try:
        with warnings.catch_warnings(), silence[0], silence[1]:
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def different() -> list[Observation]:
    """Where ours trains differently, with the same predictions: one line each."""
    return [statistics_without_empty_rows(), frozen_padding_row()]


def statistics_without_empty_rows() -> Observation:
    variant = dataclasses.replace(deepctr_torch_dien("", attention="dice"), empty=True)
    weights = theirs.random_weights(theirs.build(variant), 0)
    return _line(
        "deepctr-torch",
        "DIEN",
        "Dice in the attention, a training batch with empty histories",
        "takes the empty rows out before its batch norm",
        f"they count, as they do in its DIN: {_apart(variant, weights)}",
    )


def frozen_padding_row() -> Observation:
    variant = dataclasses.replace(torch_rechub_din("", FIELDS), padding_idx=True)
    weights = theirs.random_weights(theirs.build(variant), 0)
    return _line(
        "torch-rechub",
        "DIN",
        "padding_idx=0, which its tutorials leave out",
        "the padding row takes part in the attention, but is never trained",
        f"it is trained: {_apart(variant, weights)}",
    )


def _apart(variant: Variant, weights: Arrays) -> str:
    their, our = (side.run(variant, weights, "float64", 1) for side in (theirs, ours))
    gradient = max(gradient_differences(their.gradients, our.gradients, their.gradients).values())
    evaluated, trained = (np.abs(getattr(their, m) - getattr(our, m)).max() for m in ("evaluated_B", "trained_B"))
    return f"probability {evaluated:.0e} apart in eval mode, {trained:.0e} in train mode, gradient {gradient:.0e}"


def more_padding(batch: Batch) -> Batch:
    """The same batch with twice the history slots."""

    def pad(tree: Any) -> Any:
        return jax.tree.map(lambda a: np.pad(a, ((0, 0), (0, a.shape[1]))), tree)

    return batch.replace(history=pad(batch.history), negative=pad(batch.negative), mask_BT=pad(batch.mask_BT))


def _to_the_right(arrays: dict[str, np.ndarray], mask_BT: np.ndarray) -> dict[str, np.ndarray]:
    """Left-padded histories: each row rolled by the number of its padded slots."""
    padded_B = (~mask_BT).sum(1)
    return {name: np.stack([np.roll(row, n) for row, n in zip(a, padded_B, strict=True)]) for name, a in arrays.items()}


def _error(call: Callable[[], Any]) -> str:
    """The type and the start of the message of what the call raises."""
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).split(chr(10))[0][:72]}".rstrip(": ")
    return "works"


def _finite(x: Any) -> str:
    return "finite" if np.isfinite(np.asarray(x)).all() else "not finite"


def _line(library: str, name: str, what: str, their: str, our: str) -> Observation:
    return {"library": library, "name": name, "what": what, "theirs": their, "ours": our}
