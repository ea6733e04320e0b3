"""GRU, AIGRU, AGRU, AUGRU, minGRU and minAUGRU, one vector and one step at a time, from their papers' equations.

`biases` says where a cell has them: linen (one per gate, and one on the candidate's recurrent side), torch (two per
gate), tied (one tensor on both sides), paper (one per gate), author (one per gate, and r ⊙ h before the matmul).
`factor` is what becomes of the factors of a matrix product.
"""

import numpy as np

from reference.layers import sigmoid


class Gates:
    """The weights of each gate by name (r, u, n), taken from the package's stacked arrays."""

    def __init__(self, params, kind, biases="linen", factor=np.asarray):
        names = "rn" if kind == "AGRU" and biases != "torch" else "run"
        cell = params["cell"]
        zero = np.zeros_like(cell["bias"])
        other = {"torch": "state_bias", "tied": "bias"}.get(biases)
        stacked = (cell["input_kernel"], cell["kernel"], cell["bias"], cell[other] if other else zero)
        W, U, b, c = (np.split(np.asarray(a, np.float64), len(names), axis=-1) for a in stacked)
        self.W, self.U, self.b, self.c = (
            dict(zip(names, parts, strict=True)) for parts in (map(factor, W), map(factor, U), b, c)
        )
        if biases == "linen":
            self.c["n"] = np.asarray(cell["candidate_bias"], np.float64)
        self.reset_first, self.factor, self.features = biases == "author", factor, len(self.U["n"])

    def gate(self, name, i, h):
        i, h = self.factor(i), self.factor(h)
        return sigmoid(i @ self.W[name] + self.b[name] + h @ self.U[name] + self.c[name])

    def candidate(self, i, h):
        """h̃ = tanh(W i + b + r ⊙ (U h + c)); the authors' TensorFlow cells: tanh(W i + U (r ⊙ h) + b)."""
        r = self.gate("r", i, h)
        before, after = self.factor(r * h) @ self.U["n"], r * (self.factor(h) @ self.U["n"] + self.c["n"])
        state = before if self.reset_first else after
        return np.tanh(self.factor(i) @ self.W["n"] + self.b["n"] + state)


class MinGates:
    """Gates that do not read the state (Feng et al. 2024, arXiv 2410.01201, 3.1, with a tanh)."""

    def __init__(self, params, factor=np.asarray):
        kernel, bias = (np.asarray(params["gates"][name], np.float64) for name in ("kernel", "bias"))
        self.W, self.b = (dict(zip("un", np.split(a, 2, axis=-1), strict=True)) for a in (factor(kernel), bias))
        self.factor, self.features = factor, len(self.b["n"])

    def gate(self, name, i, h):
        return sigmoid(self.factor(i) @ self.W[name] + self.b[name])

    def candidate(self, i, h):
        return np.tanh(self.factor(i) @ self.W["n"] + self.b["n"])


def step(kind, gate, gates, i, h, a):
    """The state after one behaviour; u is the share of the new."""
    if kind == "AIGRU":  # eq. 9
        i = a * i
    n = gates.candidate(i, h)
    if kind == "AGRU":  # eq. 10
        return (1 - a) * h + a * n
    u = gates.gate("u", i, h)
    if kind in ("AUGRU", "minAUGRU") and gate == "paper":  # eq. 11-12
        u = a * u
    if kind in ("AUGRU", "minAUGRU") and gate == "author":  # the authors' code: keep' = (1 − a)·keep
        u = 1 - (1 - a) * (1 - u)
    return (1 - u) * h + u * n


def states(params, kind, gate, inputs, mask, scores=None, biases="linen", factor=np.asarray):
    """The states [T, H] of one history from a zero state; padded steps carry the state on."""
    gates = MinGates(params, factor) if kind.startswith("min") else Gates(params, kind, biases, factor)
    h, out = np.zeros(gates.features), []
    for t in range(len(inputs)):
        if mask[t]:
            h = step(kind, gate, gates, np.asarray(inputs[t], np.float64), h, None if scores is None else scores[t])
        out.append(h)
    return np.array(out).reshape(len(inputs), len(h))


def biases(cell, kind):
    """Those of the interest extractor and of the interest evolution, by the source of the cells."""
    return {
        "linen": ("linen", "linen"),
        "deepctr_torch": ("torch", "tied" if kind == "AUGRU" else "torch"),
        "torch_rechub": ("torch", "paper"),
        "author": ("author", "author"),
    }[cell]
