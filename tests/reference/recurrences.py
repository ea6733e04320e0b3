"""GRU, AIGRU, AGRU and AUGRU, one vector and one step at a time, from the equations of the DIEN paper."""

import numpy as np

from reference.layers import sigmoid


class Gates:
    """The weights of each gate by name (r, u, n), taken from the package's stacked arrays."""

    def __init__(self, params, kind):
        names = "rn" if kind == "AGRU" else "run"
        cell = params["cell"]
        stacked = (params["input"]["kernel"], cell["kernel"], cell["bias"])
        W, U, b = (np.split(np.asarray(a, np.float64), len(names), axis=-1) for a in stacked)
        self.W, self.U, self.b = (dict(zip(names, parts, strict=True)) for parts in (W, U, b))
        self.b_state = np.asarray(cell["candidate_bias"], np.float64)

    def gate(self, name, i, h):
        return sigmoid(i @ self.W[name] + h @ self.U[name] + self.b[name])

    def candidate(self, i, h):
        """h̃ = tanh(W i + b + r ⊙ (U h + b_state)): the reset gate acts after the matmul."""
        return np.tanh(i @ self.W["n"] + self.b["n"] + self.gate("r", i, h) * (h @ self.U["n"] + self.b_state))


def step(kind, gate, gates, i, h, a):
    """The state after one behaviour; u is the share of the new."""
    if kind == "AIGRU":  # eq. 9
        i = a * i
    n = gates.candidate(i, h)
    if kind == "AGRU":  # eq. 10
        return (1 - a) * h + a * n
    u = gates.gate("u", i, h)
    if kind == "AUGRU" and gate == "paper":  # eq. 11-12
        u = a * u
    if kind == "AUGRU" and gate == "author":  # the authors' code: keep' = (1 − a)·keep
        u = 1 - (1 - a) * (1 - u)
    return (1 - u) * h + u * n


def states(params, kind, gate, inputs, mask, scores=None):
    """The states [T, H] of one history from a zero state; padded steps carry the state on."""
    gates = Gates(params, kind)
    h, out = np.zeros(len(gates.b_state)), []
    for t in range(len(inputs)):
        if mask[t]:
            h = step(kind, gate, gates, np.asarray(inputs[t], np.float64), h, None if scores is None else scores[t])
        out.append(h)
    return np.array(out).reshape(len(inputs), len(gates.b_state))
