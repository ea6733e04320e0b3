"""Parity of an export with JAX, on histories, candidates and ids of many kinds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dienjax.export.graphs import Graph, narrowed
from dienjax.schema import PADDING, UNKNOWN, Schema
from dienjax.serving.session import open_session

TOLERANCE = 1e-5
"""The largest difference from JAX; for predictions above 1, relative to the largest."""

WHAT_TO_DO = (
    "Check the variables for NaN or very large numbers; if they are sound, please report it with the versions of "
    "jax, jax2onnx and onnxruntime"
)
FAR_IDS = (2**32 + 2, 2**40)
"""Ids that would be a known id, or padding, if only their last 32 bits were read."""

Served = Callable[[Mapping[str, np.ndarray]], Mapping[str, Any]]
"""An exported function: arrays by name -> outputs by name."""

Specs = Mapping[str, jax.ShapeDtypeStruct]
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """Inputs to compare, by name, with B histories of T slots and K candidates each."""

    title: str
    B: int
    T: int
    K: int
    arrays: dict[str, np.ndarray]


def cases(schema: Schema, inputs: Specs, max_len: int, ids: str) -> Iterator[Case]:
    """Cases from the smallest shapes to a real request, with empty histories and with what users get wrong.

    Args:
      inputs: the ranker's inputs, with symbolic B, T and K.
      ids: the dtype of the ids.
    """
    random, limit = np.random.default_rng(0), np.iinfo(ids)
    histories = {f"hist_{f.name}": f.name for f in schema.event_fields}
    sizes = {name: schema.sizes().get(histories.get(name, name), 0) for name in inputs}
    least = {f.name: PADDING if f.most else UNKNOWN for f in schema.id_fields}
    scaled = {f.name for f in schema.dense if f.scale}
    for title, (B, T, K), lengths in (
        ("smallest", (1, 1, 1), [1]),
        ("mixed lengths", (3, 7, 2), [7, 3, 0]),
        ("one event", (3, 7, 2), [1, 1, 1]),
        ("all empty", (3, 7, 2), [0, 0, 0]),
        ("T = 0", (3, 0, 2), [0, 0, 0]),
        ("B = 0", (0, 7, 2), []),
        ("ids out of range", (3, 7, 2), [7, 4, 1]),
        ("many candidates", (2, 7, 100), [7, 3]),
        ("one request", (1, max_len, 200), [max_len]),
    ):
        dims, arrays = {"B": B, "T": T, "K": K}, {}
        for name, spec in inputs.items():
            shape, field = tuple(dims.get(str(dim), dim) for dim in spec.shape), histories.get(name, name)
            if spec.dtype == np.float32:
                arrays[name] = random.normal(size=shape).astype(np.float32)
                if field in scaled:
                    arrays[name][random.random(shape) < 0.3] = np.nan
            elif title == "ids out of range":
                wrong = [limit.min, -1, sizes[name] - 1, sizes[name], *FAR_IDS, limit.max]
                arrays[name] = random.choice(np.array([i for i in wrong if i <= limit.max], ids), shape)
            else:
                arrays[name] = random.integers(least[field], sizes[name], shape, dtype=ids)
        mask_BT = np.arange(T) < np.array(lengths)[:, None]
        for name in histories:
            mask = mask_BT.reshape(B, T, *[1] * (arrays[name].ndim - 2))
            arrays[name] = np.where(mask, arrays[name], arrays[name].dtype.type(0))
        yield Case(title, B, T, K, arrays)


def jax_scores(ranker: Graph, variables: Any, cases: Sequence[Case]) -> list[np.ndarray]:
    """JAX's scores [B, K] of each case; ids beyond int32 are replaced by others outside their table."""
    step = jax.jit(ranker.call)

    def scores(arrays: Arrays) -> np.ndarray:
        narrow = {name: narrowed(x) if x.dtype.kind == "i" else x for name, x in arrays.items()}
        return np.asarray(step(variables, narrow)[ranker.outputs[0]])

    return [scores(case.arrays) for case in cases]


def served_scores(
    graphs: Sequence[Graph], served: Mapping[str, Served], cases: Sequence[Case]
) -> dict[str, list[np.ndarray]]:
    """The same scores by what was exported: the ranker, or the user encoder and then the candidate scorer.

    Args:
      served: the exported functions by the names of the graphs.
    """
    ranker, encoder, scorer = graphs

    def ask(graph: Graph, arrays: Arrays) -> Mapping[str, Any]:
        return served[graph.name]({name: arrays[name] for name in graph.inputs})

    def scores(graph: Graph, arrays: Arrays) -> np.ndarray:
        return np.asarray(ask(graph, arrays)[graph.outputs[0]])

    return {
        "ranker": [scores(ranker, case.arrays) for case in cases],
        "encoder + scorer": [scores(scorer, {**case.arrays, **ask(encoder, case.arrays)}) for case in cases],
    }


def onnx_functions(folder: Path, graphs: Sequence[Graph]) -> dict[str, Served]:
    """The graphs of an export in onnxruntime, by name."""

    def function(graph: Graph) -> Served:
        session = open_session(folder / f"{graph.name}.onnx")
        return lambda arrays: dict(zip(graph.outputs, session.run(list(graph.outputs), arrays), strict=True))

    return {graph.name: function(graph) for graph in graphs}


def parity_table(
    cases: Sequence[Case], inputs: Specs, got: Mapping[str, Sequence[np.ndarray]], want: Sequence[np.ndarray]
) -> str:
    """A table of the largest difference in each case, with a column for each name of `got`.

    Raises:
      ValueError: a difference is above TOLERANCE, or NaN; the message says where, and with which inputs.
    """
    lines = [f"{'case':18}{'B':>5}{'T':>5}{'K':>5}" + "".join(f"{name:>18}" for name in got)]
    for case, *got_BK, want_BK in zip(cases, *got.values(), want, strict=True):
        differences = [_checked(name, case, inputs, one, want_BK) for name, one in zip(got, got_BK, strict=True)]
        lines.append(f"{case.title:18}{case.B:5}{case.T:5}{case.K:5}" + "".join(f"{d:18.1e}" for d in differences))
    return "\n".join(lines) + "\n"


def largest_difference(got: Sequence[np.ndarray], want: Sequence[np.ndarray]) -> float:
    """The largest difference over all cases."""
    return max(float(difference(*pair).max(initial=0)) for pair in zip(got, want, strict=True))


def difference(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """The difference of each score, relative to the largest score if that is above 1."""
    return np.abs(got - want) / max(1.0, float(np.abs(want).max(initial=0)))


def _checked(name: str, case: Case, inputs: Specs, got_BK: np.ndarray, want_BK: np.ndarray) -> float:
    where = f"the case {case.title!r} of (B, T, K) = ({case.B}, {case.T}, {case.K})"
    if got_BK.shape != want_BK.shape:
        raise ValueError(f"{name} gives shape {got_BK.shape} in {where}, but JAX {want_BK.shape}. {WHAT_TO_DO}")
    difference_BK = difference(got_BK, want_BK)
    largest = float(difference_BK.max(initial=0))
    if not largest <= TOLERANCE:
        b, k = worst(difference_BK)
        raise ValueError(
            f"{name}, as exported, and JAX differ by {largest:.3g} in {where}; expected at most {TOLERANCE:g}. "
            f"At [{b}, {k}] they give {got_BK[b, k]:.7g} and {want_BK[b, k]:.7g} for\n"
            f"{_inputs_at(inputs, case.arrays, b, k)}\n{WHAT_TO_DO}"
        )
    return largest


def worst(difference: np.ndarray) -> tuple[int, ...]:
    """The index of the largest difference; NaN counts as larger than any number."""
    at = np.where(np.isnan(difference), np.inf, difference).argmax()
    return tuple(int(i) for i in np.unravel_index(at, difference.shape))


def _inputs_at(inputs: Specs, arrays: Arrays, b: int, k: int) -> str:
    """The inputs of one candidate, one per line; a long history is shown by its two ends."""
    at: dict[str, Any] = {"B": b, "T": slice(None), "K": k}
    values = {
        name: arrays[name][tuple(at.get(str(dim), slice(None)) for dim in spec.shape)] for name, spec in inputs.items()
    }
    with np.printoptions(threshold=12, linewidth=200):
        return "\n".join(f"  {name} = {value}" for name, value in values.items())
