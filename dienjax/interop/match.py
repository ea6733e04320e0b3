"""Weights mapped between two naming schemes: links that work in both directions, and one message for all misfits."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dienjax.training.checkpoint import named_leaves

Shapes = dict[str, tuple[int, ...]]


def same(array: np.ndarray) -> np.ndarray:
    """The array itself: the view of a tensor that both sides hold alike."""
    return array


@dataclass(frozen=True)
class Link:
    """Tensors of a source, and the one of our leaves that holds their numbers.

    Attributes:
      shapes: the shapes of the source's tensors, by key.
      path: the path of our leaf, such as "params/tower/out/kernel"; "" if we have none: a counter, written back as 0.
      view: makes the leaf from the tensors, only by moving and negating numbers. Its inverse need not be written: it
        follows from where the view puts each number. If two links have the same leaf, the later one decides.
    """

    shapes: Shapes
    path: str
    view: Callable[..., np.ndarray] = same

    @property
    def leaf_shape(self) -> tuple[int, ...]:
        return self.view(*(np.broadcast_to(np.int8(0), shape) for shape in self.shapes.values())).shape

    def inverse(self, leaf: np.ndarray) -> dict[str, np.ndarray]:
        """The source's tensors from which the view makes `leaf`."""
        if self.view is same:
            return dict.fromkeys(self.shapes, leaf)
        ends = np.cumsum([math.prod(shape) for shape in self.shapes.values()])
        numbers = np.split(np.arange(1, ends[-1] + 1), ends[:-1])  # from 1, so that a sign shows on each
        place = self.view(*(n.reshape(s) for n, s in zip(numbers, self.shapes.values(), strict=True)))
        flat = np.empty(ends[-1], leaf.dtype)
        flat[np.abs(place) - 1] = np.where(place < 0, -leaf, leaf)
        parts = np.split(flat, ends[:-1])
        return {key: part.reshape(shape) for part, (key, shape) in zip(parts, self.shapes.items(), strict=True)}


def read(links: Sequence[Link], state_dict: Mapping[str, Any], where: str, advice: str) -> dict[str, Any]:
    """Our variables {"params", "batch_stats"} from a source's tensors, as float32 copies.

    A tensor may be missing if another fills the same leaf: some files keep only one of two tied tensors.

    Raises:
      ValueError: keys that are missing, unexpected or misshapen, all in one message; numbers that are not finite.
    """
    got = {key: tuple(value.shape) for key, value in state_dict.items()}
    filled = {link.path for link in links if link.path and link.shapes.keys() <= got.keys()}
    expected = {k: s for link in links for k, s in link.shapes.items() if k in got or link.path not in filled}
    _check(f"the state_dict does not fit {where}", expected, got, advice)
    leaves: dict[str, np.ndarray] = {}
    keys: dict[str, str] = {}
    for link in links:
        if not link.path or not link.shapes.keys() <= got.keys():
            continue
        leaf = np.array(link.view(*(to_numpy(state_dict[key]) for key in link.shapes)), np.float32, order="C")
        key = ", ".join(link.shapes)
        if not np.isfinite(leaf).all():
            raise ValueError(f"{key!r} holds NaN or infinity; expected finite numbers: train the source's model again")
        if link.path in leaves and not np.array_equal(leaf, leaves[link.path]):
            warnings.warn(
                f"{keys[link.path]!r} and {key!r} differ, but {where} has one tensor for both: "
                f"{key!r} is taken, as load_state_dict does",
                stacklevel=4,
            )
        leaves[link.path], keys[link.path] = leaf, key
    return _nested(leaves)


def write(links: Sequence[Link], variables: Mapping[str, Any], where: str) -> dict[str, np.ndarray]:
    """A source's tensors from our variables: the inverse of `read`.

    Raises:
      ValueError: leaves that are missing, unexpected or misshapen, all in one message.
    """
    leaves = named_leaves({name: variables.get(name, {}) for name in ("params", "batch_stats")})
    _check(
        f"the variables do not fit {where}",
        {link.path: link.leaf_shape for link in links if link.path},
        {path: tuple(leaf.shape) for path, leaf in leaves.items()},
        "Give the variables of this very model",
    )
    tensors: dict[str, np.ndarray] = {}
    for link in links:
        if link.path:
            tensors |= {k: np.array(a, order="C") for k, a in link.inverse(to_numpy(leaves[link.path])).items()}
        else:
            tensors |= {key: np.zeros(shape, np.int64) for key, shape in link.shapes.items()}
    return tensors


def to_numpy(tensor: Any) -> np.ndarray:
    """A torch tensor, on any device and of any float type, or anything array-like, as a float32 array."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu().float().numpy()
    return np.asarray(tensor, np.float32)


def _check(problem: str, expected: Shapes, got: Shapes, advice: str) -> None:
    lines = [f"missing     {key}: expected {expected[key]}" for key in expected if key not in got]
    lines += [f"unexpected  {key}: got {got[key]}" for key in got if key not in expected]
    for key in expected:
        if key in got and got[key] != expected[key]:
            lines.append(f"misshapen   {key}: got {got[key]}, expected {expected[key]}")
    if lines:
        raise ValueError(f"{problem}:\n" + "\n".join(f"  {line}" for line in lines) + f"\n{advice}")


def _nested(leaves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {"params": {}, "batch_stats": {}}
    for path, leaf in leaves.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = leaf
    return tree
