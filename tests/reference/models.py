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


def fields(model):
    """By the end of the names of its modules: which columns of a behaviour a recurrence or an attention sees."""
    if model.fields == "joined":
        return {"": slice(None)}
    found, start = {}, 0
    for b in model.schema.behaviours:
        end = start + model.schema.table(b.table).dim
        found[f"_{b.name}"] = slice(start, end)
        start = end
    return found


def attention_weights(model, params, stats, query, keys, mask):
    def score(key):
        if getattr(model, "attention", "mlp") == "bilinear":
            return layers.bilinear_score(query, key, params)
        return layers.mlp_score(query, key, params, stats, model.attention_activation, model.attention_batch_norm)

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
            interest = din_interest if type(model).__name__ == "DIN" else evolved_interest
            interests = [
                interest(model, params, stats, history[:, columns], mask, candidate[columns], end)
                for end, columns in fields(model).items()
            ]
            user = features(params, schema, "user", batch.user, (b,))
            context = features(params, schema, "candidate", batch.candidate, (b, k))
            x = np.concatenate([*interests, candidate, user, context])
            tower = params["tower"], stats.get("tower", NO_STATS)
            out[b, k] = layers.mlp(x, *tower, model.tower_activation, model.batch_norm)
    return out


def din_interest(model, params, stats, history, mask, candidate, end):
    """The sum of the behaviours, weighed by attention to one candidate."""
    seen = mask if model.padding == "masked" else np.ones_like(mask)
    attention = params[f"attention{end}"], stats.get(f"attention{end}", NO_STATS)
    weight = attention_weights(model, *attention, candidate, history, seen)
    return sum(weight[t] * history[t] for t in range(len(history)))


def evolved_interest(model, params, stats, history, mask, candidate, end):
    """The interest that DIEN's second layer evolves towards one candidate."""
    extractor, evolution = recurrences.biases(model.cell, model.kind)
    keys = recurrences.states(params[f"extractor{end}"], model.extractor, "paper", history, mask, None, extractor)
    if model.kind == "GRU":
        keys = recurrences.states(params[f"evolution{end}"], "GRU", "paper", keys, mask, None, evolution)
    attention = params[f"target_attention{end}"], stats.get(f"target_attention{end}", NO_STATS)
    weight = attention_weights(model, *attention, candidate, keys, mask)
    if model.kind == "GRU":
        return sum(weight[t] * keys[t] for t in range(len(keys)))
    return recurrences.states(params[f"evolution{end}"], model.kind, model.gate, keys, mask, weight, evolution)[-1]


def auxiliary_logits(model, variables, batch):
    """Positive and negative logits [B, F·(T − 1)]: state t with behaviour t + 1, and with its negative, by field."""
    params, schema = variables["params"], model.schema
    (B, T), out = batch.mask_BT.shape, []
    extractor, _ = recurrences.biases(model.cell, model.kind)
    for arrays in (batch.history, batch.negative):
        logit = np.zeros((B, len(fields(model)), T - 1))
        for b in range(B):
            history = np.array([behaviour(params, schema, batch.history, b, t) for t in range(T)])
            for f, (end, columns) in enumerate(fields(model).items()):
                recurrence = params[f"extractor{end}"], model.extractor, "paper", history[:, columns], batch.mask_BT[b]
                state = recurrences.states(*recurrence, None, extractor)
                for s in range(T - 1):
                    other = behaviour(params, schema, arrays, b, s + 1)[columns]
                    if model.auxiliary == "inner":
                        logit[b, f, s] = state[s] @ other
                        continue
                    scorer = params["scorer"]["mlp"], variables["batch_stats"].get("scorer", {}).get("mlp", NO_STATS)
                    logit[b, f, s] = layers.mlp(np.concatenate([state[s], other]), *scorer, model.auxiliary_activation)
        out.append(logit.reshape(B, -1))
    return out
