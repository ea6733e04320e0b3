"""DIN and DIEN at inference, candidate by candidate, from the batch's ids to logits."""

import numpy as np

from reference import layers, recurrences

NO_STATS = {}


def row(params, schema, field, id):
    table = schema.table(next(f.table for f in (*schema.behaviours, *schema.sparse) if f.name == field))
    return np.asarray(params["embedder"][table.name], np.float64)[id]


def behaviour(params, schema, arrays, b, j):
    return np.concatenate([row(params, schema, f.name, arrays[f.name][b, j]) for f in schema.behaviours])


def features(params, schema, side, arrays, at):
    parts = [row(params, schema, f.name, arrays[f.name][at]) for f in schema.sparse if f.of == side]
    return np.concatenate([*parts, *([arrays[f.name][at]] for f in schema.dense if f.of == side)])


def attention_weights(model, params, stats, query, keys, mask):
    form = getattr(model, "attention", "mlp") if type(model).__name__ == "DIEN" else "mlp"
    score = {
        "mlp": lambda key: layers.mlp_score(query, key, params, stats, model.attention_activation),
        "bilinear": lambda key: layers.bilinear_score(query, key, params),
    }[form]
    return layers.weights([score(key) for key in keys], mask, model.softmax)


def logits(model, variables, batch):
    """[B, K] of a DIN or DIEN module."""
    params, stats, schema = variables["params"], variables["batch_stats"], model.schema
    (B, T), K = batch.mask_BT.shape, batch.mask_BK.shape[1]
    out = np.zeros((B, K))
    for b in range(B):
        mask = batch.mask_BT[b]
        history = np.array([behaviour(params, schema, batch.history, b, t) for t in range(T)])
        for k in range(K):
            candidate = behaviour(params, schema, batch.candidate, b, k)
            if type(model).__name__ == "DIN":
                attention = params["attention"], stats.get("attention", NO_STATS)
                weight = attention_weights(model, *attention, candidate, history, mask)
                interest = sum(weight[t] * history[t] for t in range(T))
            else:
                interest = evolved_interest(model, params, stats, history, mask, candidate)
            user = features(params, schema, "user", batch.user, (b,))
            context = features(params, schema, "candidate", batch.candidate, (b, k))
            x = np.concatenate([interest, candidate, user, context])
            tower = params["tower"], stats.get("tower", NO_STATS)
            out[b, k] = layers.mlp(x, *tower, model.tower_activation, model.batch_norm)
    return out


def evolved_interest(model, params, stats, history, mask, candidate):
    """The interest that DIEN's second layer evolves towards one candidate."""
    keys = recurrences.states(params["extractor"], "GRU", "paper", history, mask)
    if model.kind == "GRU":
        keys = recurrences.states(params["evolution"], "GRU", "paper", keys, mask)
    attention = params["target_attention"], stats.get("target_attention", NO_STATS)
    weight = attention_weights(model, *attention, candidate, keys, mask)
    if model.kind == "GRU":
        return sum(weight[t] * keys[t] for t in range(len(keys)))
    return recurrences.states(params["evolution"], model.kind, model.gate, keys, mask, weight)[-1]


def auxiliary_logits(model, variables, batch):
    """Positive and negative logits [B, T − 1]: state t with behaviour t + 1, and with its negative."""
    params, schema = variables["params"], model.schema
    (B, T), out = batch.mask_BT.shape, []
    for arrays in (batch.history, batch.negative):
        logit = np.zeros((B, T - 1))
        for b in range(B):
            history = np.array([behaviour(params, schema, batch.history, b, t) for t in range(T)])
            state = recurrences.states(params["extractor"], "GRU", "paper", history, batch.mask_BT[b])
            for s in range(T - 1):
                pair = np.concatenate([state[s], behaviour(params, schema, arrays, b, s + 1)])
                if model.auxiliary == "inner":
                    logit[b, s] = state[s] @ pair[len(state[s]) :]
                else:
                    scorer = params["scorer"]["mlp"], variables["batch_stats"].get("scorer", {}).get("mlp", NO_STATS)
                    logit[b, s] = layers.mlp(pair, *scorer, model.auxiliary_activation)
        out.append(logit)
    return out
