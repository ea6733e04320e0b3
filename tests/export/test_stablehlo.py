"""Programs read back from their files are the model, and say what is wrong with what they are given."""

import hashlib
import json

import jax
import numpy as np
import pytest
from flax import linen as nn

from builders import SCHEMA, apply, make_batch, random_variables
from dienjax.export.graphs import graphs
from dienjax.export.quantised import reduced_tables
from dienjax.export.stablehlo import PARAMETERS, PROGRAMS, load_programs, save_programs
from dienjax.models import DIEN, DIN
from dienjax.serving.folder import sealed
from dienjax.training.checkpoint import named_leaves

pytestmark = pytest.mark.slow
"""By default the export of a run, which compares its programs with the model, is enough."""

SIZES = {"attention_hidden": (4,), "tower": (5,)}
MODELS = {
    "DIN": (DIN(SCHEMA, batch_norm=True, **SIZES), "regression", "float32"),
    "DIEN": (DIEN(SCHEMA, auxiliary_hidden=(4,), **SIZES), "binary", "int8"),
    "minAUGRU": (DIEN(SCHEMA, kind="minAUGRU", extractor="minGRU", **SIZES), "binary", "float32"),
}
FILES = [*(f"{name}.stablehlo" for name in PROGRAMS), PARAMETERS]


def variables(name):
    """Those of the export, and the same for the model itself, with tables of float32."""
    model, _, precision = MODELS[name]
    full = random_variables(model, make_batch())
    tables = reduced_tables(full["params"]["embedder"], precision)
    reduced = full | {"params": full["params"] | {"embedder": tables}}
    if precision == "int8":
        tables = {name: np.asarray(t.value_VD) * np.asarray(t.scale_V)[:, None] for name, t in tables.items()}
    return reduced, full | {"params": full["params"] | {"embedder": tables}}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """An export of each model. Not to be changed."""
    folders = {name: tmp_path_factory.mktemp(name) for name in MODELS}
    for name, (model, task, _) in MODELS.items():
        serving = graphs(model, variables(name)[0], task, *jax.export.symbolic_shape("B, T, K"))
        save_programs(serving, variables(name)[0], folders[name])
    return folders


@pytest.fixture(scope="module")
def programs(folders):
    return {name: load_programs(str(folder)) for name, folder in folders.items()}


@pytest.fixture
def copied(folders, tmp_path):
    """A copy of the DIEN's export, with an export.json."""
    data = {name: (folders["DIEN"] / name).read_bytes() for name in FILES}
    for name in FILES:
        (tmp_path / name).write_bytes(data[name])
    digests = {name: hashlib.sha256(data[name]).hexdigest() for name in FILES}
    (tmp_path / "export.json").write_text(json.dumps(sealed({"files": digests})))
    return tmp_path


def of_user(batch):
    return {f"hist_{name}": ids for name, ids in batch.history.items()} | batch.user


def arrays_of(batch):
    return of_user(batch) | batch.candidate


def without_history(arrays):
    return {name: a[:, :0] if name.startswith("hist_") else a for name, a in arrays.items()}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("lengths", "T", "K"), [((0, 1, 4, 2, 3, 0), 4, 3), ((2,), 2, 1), ((7, 0, 6), 7, 5)])
def test_the_ranker_is_the_model(programs, name, lengths, T, K):
    batch = make_batch(lengths, T, K, negatives=False)
    model, task, _ = MODELS[name]
    want_BK = apply(model, variables(name)[1], batch).logit_BK
    want_BK = want_BK if task == "regression" else jax.nn.sigmoid(want_BK)
    output = programs[name]["ranker"](arrays_of(batch))
    assert list(output) == ["prediction" if task == "regression" else "probability"]
    (got_BK,) = output.values()
    assert isinstance(got_BK, jax.Array) and got_BK.dtype == np.float32
    # The model saw the batch's own masks; a masked candidate's number means nothing to it.
    np.testing.assert_allclose(got_BK[batch.mask_BK], want_BK[batch.mask_BK], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_encoder_and_scorer_are_the_ranker(programs, name):
    """Also without a slot: T = 0 is an empty history."""
    batch = make_batch()
    rank, encode, score = (programs[name][p] for p in PROGRAMS)
    encoded = encode(of_user(batch))
    assert {n: a.shape for n, a in encoded.items()} == {
        "interest_states": (6, 4, 5), "history_mask": (6, 4), "user_vector": (6, 3)
    }  # fmt: skip
    (got_BK,), (want_BK,) = (outputs.values() for outputs in (score(encoded | batch.candidate), rank(arrays_of(batch))))
    np.testing.assert_allclose(got_BK, want_BK, rtol=1e-5, atol=1e-6)

    padded = {n: np.zeros_like(a) if n.startswith("hist_") else a for n, a in arrays_of(batch).items()}
    (want_BK,), (no_slot_BK,) = (rank(arrays).values() for arrays in (padded, without_history(padded)))
    np.testing.assert_allclose(no_slot_BK, want_BK, rtol=1e-5, atol=1e-6)
    assert encode(without_history(of_user(batch)))["interest_states"].shape == (6, 1, 5)
    no_slot = {"interest_states": np.zeros((6, 0, 5), np.float32), "history_mask": np.zeros((6, 0), bool)}
    (got_BK,) = score(encoded | no_slot | batch.candidate).values()
    np.testing.assert_allclose(got_BK, want_BK, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bad", [-1, 99, 2**31 - 1, -(2**31), 2**31, 2**32 + 5, -(2**32) + 5, 2**63 - 1, -(2**63)])
def test_an_id_outside_its_table_is_unknown_in_int32_as_in_int64(programs, bad):
    rank, arrays = programs["DIEN"]["ranker"], arrays_of(make_batch())
    ids = [name for name, a in arrays.items() if a.dtype == np.int32]
    dtype = np.int32 if -(2**31) <= bad < 2**31 else np.int64
    wrong, unknown = (
        {n: np.where(a % 2 == 1, dtype(id), a.astype(dtype)) if n in ids else a for n, a in arrays.items()}
        for id in (bad, 1)
    )
    assert all((wrong[n] == bad).any() and wrong[n].dtype == dtype for n in ids)
    np.testing.assert_array_equal(*(rank(a)["probability"] for a in (wrong, unknown)))
    assert not np.allclose(rank(arrays)["probability"], rank(unknown)["probability"])


def test_neither_loading_nor_calling_needs_the_model(folders, programs, monkeypatch):
    expected = programs["DIEN"]["ranker"](arrays_of(make_batch()))["probability"]

    def fail(*_, **__):
        raise AssertionError("the model was used")

    for method in ("apply", "init", "__post_init__"):
        monkeypatch.setattr(nn.Module, method, fail)
    again = load_programs(folders["DIEN"])["ranker"]
    np.testing.assert_array_equal(again(arrays_of(make_batch()))["probability"], expected)


def test_a_program_can_be_part_of_a_larger_one(programs):
    rank, arrays = programs["DIEN"]["ranker"], arrays_of(make_batch())
    best_B = jax.jit(lambda arrays: rank(arrays)["probability"].argmax(axis=1))(arrays)
    np.testing.assert_array_equal(best_B, rank(arrays)["probability"].argmax(axis=1))


def test_what_the_files_hold(folders):
    with np.load(folders["DIEN"] / PARAMETERS) as parameters:
        got = {name: parameters[name] for name in parameters.files}
    expected = named_leaves(variables("DIEN")[0])
    assert got.keys() == expected.keys() and got["params/embedder/item/value_VD"].dtype == np.int8
    for name, array in expected.items():
        np.testing.assert_array_equal(got[name], array)
    for name in PROGRAMS:
        data = (folders["DIEN"] / f"{name}.stablehlo").read_bytes()
        assert jax.export.deserialize(bytearray(data)).platforms == ("cpu", "cuda", "tpu")
        assert b".py" not in data, "the path of a source file"


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"itme": 0}, ValueError, "ranker has no input 'itme'; did you mean 'item'"),
        ({"city": None}, ValueError, r"ranker: input 'city' is missing; expected \['age', 'category', 'city', "),
        ({"city": np.zeros((6, 1), np.int32)}, ValueError, r"'city' has shape \(6, 1\); expected \(B\), where B, T"),
        ({"city": np.zeros(5, np.int32)}, ValueError, r"'city' has shape \(5,\); expected \(B\), where B, T and K are"),
        ({"price": np.zeros((6, 2), np.float32)}, ValueError, r"'price' has shape \(6, 2\); expected \(B, K\), where"),
        ({"price": np.zeros((6, 3))}, TypeError, "'price' has dtype float64; expected float32: convert"),
        ({"item": np.zeros((6, 3), np.float32)}, TypeError, "'item' has dtype float32; expected int32 or int64"),
        ({"slot": [["a"] * 3] * 6}, TypeError, "'slot' has dtype <U1; expected int32 or int64"),
    ],
)
def test_wrong_inputs(programs, change, error, match):
    arrays = {name: a for name, a in (arrays_of(make_batch()) | change).items() if a is not None}
    with pytest.raises(error, match=match):
        programs["DIEN"]["ranker"](arrays)


@pytest.mark.parametrize(("B", "K"), [(0, 3), (6, 0)])
def test_no_row_or_no_candidate(programs, B, K):
    arrays = {name: a[:B, :K] if a.ndim == 2 else a[:B] for name, a in make_batch().candidate.items()}
    arrays |= {name: a[:B] for name, a in of_user(make_batch()).items()}
    with pytest.raises(ValueError, match="and only T may be 0"):
        programs["DIEN"]["ranker"](arrays)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("listed", [True, False])
def test_damaged_files(copied, file, listed):
    whole = (copied / file).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    if not listed:
        (copied / "export.json").unlink()
    for damaged in (whole[: len(whole) // 2], whole[:-100], b"", *([flipped] if listed else [])):
        (copied / file).write_bytes(damaged)
        why = "is damaged: its SHA-256 is not" if listed else "cannot be read .*: it is damaged, or of another version"
        with pytest.raises(ValueError, match=f"{file} {why}.*; copy the export's folder again, or export again"):
            load_programs(copied)
    (copied / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"{file} is missing; expected a folder with .*'ranker.stablehlo'"):
        load_programs(copied)
    (copied / file).write_bytes(whole)
    assert load_programs(copied).keys() == set(PROGRAMS)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}'])
def test_a_damaged_list_of_files(copied, text):
    (copied / "export.json").write_text(text)
    with pytest.raises(ValueError, match=r"export.json cannot be read \("):
        load_programs(copied)


def test_parameters_of_another_export(copied, folders):
    (copied / "export.json").unlink()
    (copied / PARAMETERS).write_bytes((folders["DIN"] / PARAMETERS).read_bytes())
    with pytest.raises(
        ValueError, match=r"ranker.stablehlo and parameters.npz belong to different exports: the parameter 'batch"
    ):
        load_programs(copied)


def test_no_pickle_is_opened(copied):
    (copied / "export.json").unlink()
    np.savez(copied / PARAMETERS, **{"params/tower/out/bias": np.array([{}], object)})
    with pytest.raises(ValueError, match=r"parameters.npz cannot be read \(.*allow_pickle=False"):
        load_programs(copied)
