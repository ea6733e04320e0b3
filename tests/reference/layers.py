"""Masked batch normalisation, Dice, MLP and target attention, unit by unit and behaviour by behaviour."""

import numpy as np

BATCH_NORM_EPSILON, DICE_EPSILON = 1e-5, 1e-8


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def statistics(x, mask):
    """Mean and biased variance of each unit over the positions where mask is True."""
    width = x.shape[-1]
    mean, var = np.zeros(width), np.zeros(width)
    for unit in range(width):
        real = [float(v) for v, m in zip(x[..., unit].ravel(), mask.ravel(), strict=True) if m]
        mean[unit] = sum(real) / len(real)
        var[unit] = sum((v - mean[unit]) ** 2 for v in real) / len(real)
    return mean, var


def normalise(x, mean, var, epsilon):
    return (np.asarray(x, np.float64) - mean) / np.sqrt(var + epsilon)


def dice(x, alpha, mean, var, epsilon=DICE_EPSILON):
    """DIN paper, eq. 9: p(s)·s + (1 − p(s))·α·s."""
    x = np.asarray(x, np.float64)
    p = sigmoid(normalise(x, mean, var, epsilon))
    return p * x + (1 - p) * alpha * x


def activate(kind, x, params, stats):
    if kind == "dice":
        norm = stats["dice"]["norm"]
        return dice(x, params["dice"]["alpha"], norm["mean"], norm["var"])
    if kind == "prelu":
        return prelu(x, params["alpha"])
    if kind == "prelu_torch":  # nn.PReLU: one slope
        return prelu(x, [params["alpha"][0]] * len(x))
    if kind == "dice_deepctr_torch":  # nn.BatchNorm1d has a scale and a shift
        norm, affine = stats["dice"]["norm"], params["dice"]["norm"]
        p = sigmoid(normalise(x, norm["mean"], norm["var"], DICE_EPSILON) * affine["scale"] + affine["bias"])
        return p * x + (1 - p) * params["dice"]["alpha"] * x
    if kind == "dice_torch_rechub":  # over the units of the row, and a sum where a mean was meant
        p = sigmoid((x - x.mean()) / np.sqrt(sum((v - x.mean()) ** 2 + 1e-3 for v in x)))
        return p * x + (1 - p) * params["dice"]["alpha"][0] * x
    return {"relu": lambda v: np.maximum(v, 0), "sigmoid": sigmoid, "tanh": np.tanh}[kind](x)


def prelu(x, slopes):
    return np.array([v if v > 0 else a * v for v, a in zip(x, slopes, strict=True)])


def mlp(x, params, stats, activation, batch_norm=False, first=None):
    """One vector to one number, at inference. `first` = (kernel, bias) of the first layer if it is kept elsewhere."""
    x = np.asarray(x, np.float64)
    layers = sorted(int(name.split("_")[1]) for name in {*params, *stats} if name.startswith("dense_"))
    for i in ([0] if first else []) + layers:
        kernel, bias = first if first and i == 0 else (params[f"dense_{i}"]["kernel"], params[f"dense_{i}"]["bias"])
        x = x @ np.asarray(kernel, np.float64) + bias
        if batch_norm:
            norm, affine = stats[f"norm_{i}"], params[f"norm_{i}"]
            x = normalise(x, norm["mean"], norm["var"], BATCH_NORM_EPSILON) * affine["scale"] + affine["bias"]
        x = activate(activation, x, params.get(f"activation_{i}", {}), stats.get(f"activation_{i}", {}))
    out = x @ np.asarray(params["out"]["kernel"], np.float64) + params["out"]["bias"]
    if len(out) == 2:  # the authors' code: a softmax over two outputs, the first is the click
        click, no_click = np.exp(out) / np.exp(out).sum()
        return float(np.log(click / no_click))
    return float(out[0])


def mlp_score(query, key, params, stats, activation, batch_norm=False):
    """DIN, figure 2, with the concatenation written out: MLP([q, k, q − k, q ⊙ k])."""
    query, key = np.asarray(query, np.float64), np.asarray(key, np.float64)
    if "query" in params:
        query = query @ params["query"]["kernel"] + params["query"]["bias"]
    if "query_alpha" in params:  # the authors' code
        query = prelu(query, params["query_alpha"])
    pair = np.concatenate([query, key, query - key, query * key])
    first = (params["kernel"], params["bias"])
    return mlp(pair, params.get("mlp", {}), stats.get("mlp", {}), activation, batch_norm, first)


def bilinear_score(query, key, params):
    """DIEN, eq. 8: h_t W e_a; the kernel takes the candidate to the width of the state."""
    return float(np.asarray(key, np.float64) @ (np.asarray(query, np.float64) @ params["bilinear"]["kernel"]))


def weights(scores, mask, softmax):
    """Attention weights [T] of one history: 0 where padded; over the real ones softmax or the score itself."""
    out, real = np.zeros(len(scores)), [t for t in range(len(scores)) if mask[t]]
    total = sum(np.exp(scores[t]) for t in real)
    for t in real:
        out[t] = np.exp(scores[t]) / total if softmax else scores[t]
    return out
