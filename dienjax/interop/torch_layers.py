"""Links of PyTorch's own layers (Linear, BatchNorm1d, Embedding, GRU), and the widths that follow from their shapes."""

from collections.abc import Callable, Mapping

import numpy as np

from dienjax.interop.match import Link, Shapes
from dienjax.schema import Schema


def tables(schema: Schema, prefix: str, names: Mapping[str, str]) -> list[Link]:
    """Embedding tables; `names` has those that are called differently in the source."""
    return [
        Link({f"{prefix}{names.get(t.name, t.name)}.weight": (t.size, t.dim)}, f"params/embedder/{t.name}")
        for t in schema.tables
    ]


def linear(key: str, kernel: str, bias: str, width: tuple[int, int], rows: np.ndarray | None = None) -> list[Link]:
    """nn.Linear from F to G numbers: weight [G, F], ours [F, G]; `rows` are the source's positions of our inputs."""
    inputs, outputs = width
    turn: Callable = np.transpose if rows is None else lambda weight: weight.T[rows]
    return [Link({f"{key}.weight": (outputs, inputs)}, kernel, turn), Link({f"{key}.bias": (outputs,)}, bias)]


def batch_norm(key: str, module: str, width: int) -> list[Link]:
    """nn.BatchNorm1d; torch reads its num_batches_tracked only with momentum=None, so we do not keep it."""
    names = {"weight": "params/{}/scale", "bias": "params/{}/bias"}
    names |= {"running_mean": "batch_stats/{}/mean", "running_var": "batch_stats/{}/var"}
    links = [Link({f"{key}.{name}": (width,)}, path.format(module)) for name, path in names.items()]
    return [*links, Link({f"{key}.num_batches_tracked": ()}, "")]


def recurrent(
    key: str, module: str, units: np.ndarray, suffix: str = "", update_is_new: bool = False, tied: bool = False
) -> list[Link]:
    """nn.GRU, or a cell with its layout: gates r, z, n one below the other, as inputs wide as the state.

    Args:
      units: the source's positions of our units (inputs and states).
      suffix: suffix of the source's names, such as "_l0".
      update_is_new: z is the share of the new state, like our u; nn.GRU's is the share of the old one: u = σ(−z).
      tied: one tensor is the bias of both sides (deepctr-torch's AUGRU), under two names.
    """
    H = len(units)
    sign = 1 if update_is_new else -1

    def gates(weight: np.ndarray) -> np.ndarray:
        r, z, n = (gate[units] for gate in np.split(weight, 3))
        return np.concatenate([r, sign * z, n]).T

    def kernel(weight: np.ndarray) -> np.ndarray:
        return gates(weight)[units]

    path = f"params/{module}"
    return [
        Link({f"{key}.weight_ih{suffix}": (3 * H, H)}, f"{path}/cell/input_kernel", kernel),
        Link({f"{key}.weight_hh{suffix}": (3 * H, H)}, f"{path}/cell/kernel", kernel),
        Link({f"{key}.bias_ih{suffix}": (3 * H,)}, f"{path}/cell/bias", gates),
        Link({f"{key}.bias_hh{suffix}": (3 * H,)}, f"{path}/cell/{'bias' if tied else 'state_bias'}", gates),
    ]


def repeated(units: np.ndarray, times: int) -> np.ndarray:
    """The same positions in each of `times` concatenated parts."""
    return np.concatenate([units + i * len(units) for i in range(times)])


def linear_widths(shapes: Shapes, prefix: str) -> tuple[int, ...]:
    """The output widths of the Linears `<prefix><number>.weight`, in the order of their numbers."""
    found = {}
    for key, shape in shapes.items():
        number = key.removeprefix(prefix).removesuffix(".weight")
        if key == f"{prefix}{number}.weight" and number.isdigit() and len(shape) == 2:
            found[int(number)] = shape[0]
    return tuple(found[number] for number in sorted(found))
