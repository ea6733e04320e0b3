"""A tiny model as an export writes it, whose graphs are written by hand, and the same in NumPy."""

import hashlib
import json

import numpy as np
import pytest

from dienjax.schema import Behaviour, Dense, Schema, Sparse, Table
from dienjax.serving.folder import sealed

VOCABULARY = {
    "item": ["a", "b", "c", "d"],
    "category": [10, 20, 2.5],
    "city": ["Bonn", "Köln"],
    "slot": [False, True],
}
SCHEMA = Schema(
    tables=(Table("item", 6, 3), Table("category", 5, 3), Table("city", 4, 1), Table("slot", 4, 1)),
    behaviours=(Behaviour("item"), Behaviour("category")),
    sparse=(Sparse("city"), Sparse("favourite", "item"), Sparse("slot", of="candidate")),
    dense=(Dense("age"), Dense("hist_age"), Dense("price", of="candidate")),
)
PLAIN = Schema(SCHEMA.tables[:1], SCHEMA.behaviours[:1])
WEIGHTS = {
    table.name: np.random.default_rng(i).normal(size=(table.size, table.dim)).astype(np.float32)
    for i, table in enumerate(SCHEMA.tables)
}


class Tiny:
    """score = sigmoid(Σ_T state · candidate + the sum of all features); a state is the sum of an event's embeddings."""

    schema, plain, vocabulary = SCHEMA, PLAIN, VOCABULARY

    @staticmethod
    def write(folder, schema=SCHEMA, vocabulary=VOCABULARY, ids="int32", task="binary", max_len=4, external=False):
        """The folder, then an export; `external`: with the user encoder's weights beside it."""
        onnx = pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
        (folder / "vocab").mkdir(parents=True)
        for name, text in (("user_encoder", _encoder(schema, ids)), ("candidate_scorer", _scorer(schema, ids, task))):
            model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]>\n{text}')
            constants = {"axis_1": np.array([1]), "axis_2": np.array([2]), "pads": np.array([0, 0, 0, 1])}
            weights = {f"{table.name}_table": WEIGHTS[table.name] for table in schema.tables}
            model.graph.initializer.extend(
                onnx.numpy_helper.from_array(array, key) for key, array in (constants | weights).items() if key in text
            )
            onnx.checker.check_model(model)
            beside = {"save_as_external_data": True, "location": "tables.data", "size_threshold": 80}
            onnx.save_model(model, folder / f"{name}.onnx", **(beside if external and name == "user_encoder" else {}))
        for table in schema.tables if vocabulary else ():
            (folder / "vocab" / f"{table.name}.json").write_text(json.dumps(vocabulary[table.name]), encoding="utf-8")
        facts = {
            "format": 2, "form": "onnx", "schema": schema.to_json(), "task": task, "max_len": max_len, "ids": ids,
            "tables": "float32", "checkpoint": {"kind": "best", "step": 1}, "versions": {}, "validation": None,
            "files": {
                file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
                for file in folder.rglob("*") if file.is_file()
            },
        }  # fmt: skip
        facts["files"]["ranker.onnx"] = "0" * 64  # not there: a ranker does not need it
        (folder / "export.json").write_text(json.dumps(sealed(facts)), encoding="utf-8")
        return folder

    @staticmethod
    def expected(history, candidates, user=None, vocabulary=VOCABULARY, max_len=4, task="binary"):
        """What `Ranker.score` gives, in NumPy."""
        tables = {field.name: field.table for field in SCHEMA.id_fields}

        def rows(name, value_N):
            table = tables[name]
            size, known = len(WEIGHTS[table]), vocabulary and vocabulary[table]
            if known:
                ids = [known.index(v) + 2 if v in known else 1 for v in value_N]
            else:
                ids = [v if v is not None and 0 <= v < size else 1 for v in value_N]
            return WEIGHTS[table][np.array(ids, int)]

        behaviours = [b.name for b in SCHEMA.behaviours if b.name in history]
        state_H = sum(rows(name, list(history[name])[-max_len:]).sum(0) for name in behaviours)
        logit_K = sum(rows(name, candidates[name]) for name in behaviours) @ state_H
        for name, value_K in candidates.items():
            if name not in behaviours:
                logit_K = logit_K + (rows(name, value_K)[:, 0] if name in tables else np.float32(value_K))
        for name, value in (user or {}).items():
            logit_K = logit_K + (rows(name, [value]).sum() if name in tables else np.float32(value))
        return logit_K if task == "regression" else 1 / (1 + np.exp(-logit_K))


def _encoder(schema, ids):
    names = [b.name for b in schema.behaviours]
    user = [f for f in (*schema.sparse, *schema.dense) if f.of == "user"]
    inputs = [f"{ids}[B, T] hist_{name}" for name in names] + [f"{_dtype(f, ids)}[B] {f.name}" for f in user]
    outputs = ["float[B, S, 3] interest_states", "bool[B, S] history_mask"]
    lines = [f"pad_{name} = Pad(hist_{name}, pads)" for name in names]
    lines += [f"state_{b.name} = Gather({b.table}_table, pad_{b.name})" for b in schema.behaviours]
    lines += [f"interest_states = Sum({_joined('state_', names)})", f"history_mask = Cast<to=9>(pad_{schema.item})"]
    for f in user:
        lines += [
            f"u_{f.name} = {f'Unsqueeze({f.name}, axis_1)' if _is_dense(f) else f'Gather({f.table}_table, {f.name})'}"
        ]
    if user:
        outputs += ["float[B, U] user_vector"]
        lines += [f"user_vector = Concat<axis=1>({_joined('u_', [f.name for f in user])})"]
    return _graph(inputs, outputs, lines)


def _scorer(schema, ids, task):
    names = [b.name for b in schema.behaviours]
    features = [f for f in (*schema.sparse, *schema.dense) if f.of == "candidate"]
    inputs = ["float[B, S, 3] interest_states", "bool[B, S] history_mask"]
    inputs += [f"{ids}[B, K] {name}" for name in names] + [f"{_dtype(f, ids)}[B, K] {f.name}" for f in features]
    lines = ["mask_BT = Cast<to=1>(history_mask)", "mask_BT1 = Unsqueeze(mask_BT, axis_2)"]
    lines += ["real_BTH = Mul(interest_states, mask_BT1)", "sum_B1H = ReduceSum(real_BTH, axis_1)"]
    lines += [f"row_{b.name} = Gather({b.table}_table, {b.name})" for b in schema.behaviours]
    lines += [f"row_BKH = Sum({_joined('row_', names)})", "product_BKH = Mul(sum_B1H, row_BKH)"]
    lines += ["logit_BK = ReduceSum<keepdims=0>(product_BKH, axis_2)"]
    terms = ["logit_BK"]
    if any(f.of == "user" for f in (*schema.sparse, *schema.dense)):
        inputs += ["float[B, U] user_vector"]
        lines += ["user_B1 = ReduceSum(user_vector, axis_1)"]
        terms += ["user_B1"]
    for f in features:
        if not _is_dense(f):
            lines += [f"{f.name}_BK1 = Gather({f.table}_table, {f.name})"]
            lines += [f"{f.name}_BK = Squeeze({f.name}_BK1, axis_2)"]
        terms += [f.name if _is_dense(f) else f"{f.name}_BK"]
    output, function = {"binary": ("probability", "Sigmoid"), "regression": ("prediction", "Identity")}[task]
    lines += [f"total_BK = Sum({', '.join(terms)})", f"{output} = {function}(total_BK)"]
    return _graph(inputs, [f"float[B, K] {output}"], lines)


def _is_dense(field):
    return isinstance(field, Dense)


def _dtype(field, ids):
    return "float" if _is_dense(field) else ids


def _joined(prefix, names):
    return ", ".join(prefix + name for name in names)


def _graph(inputs, outputs, lines):
    body = "\n".join(lines)
    return f"graph ({', '.join(inputs)}) => ({', '.join(outputs)}) {{\n{body}\n}}"


@pytest.fixture(scope="session")
def tiny():
    return Tiny


@pytest.fixture(scope="session")
def exported(tiny, tmp_path_factory):
    """An export of the schema with every kind of field. Not to be changed."""
    return tiny.write(tmp_path_factory.mktemp("serving") / "exported")
