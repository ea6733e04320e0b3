"""An export is read whole, or the file that is not as it was written is named."""

import hashlib
import json

import numpy as np
import pytest

from dienjax.serving.folder import read_export, sealed, unsealed
from dienjax.storage.files import sha256

VOCABULARY = "vocab/city.json"


@pytest.fixture
def folder(tiny, tmp_path):
    return tiny.write(tmp_path / "exported", external=True, ids="int64")


def change(folder, **entries):
    file = folder / "export.json"
    file.write_text(json.dumps(sealed(unsealed(json.loads(file.read_text())) | entries)))


def test_reads_what_was_written(folder, tiny):
    export = read_export(str(folder))
    assert (export.schema, export.task, export.max_len, export.ids) == (tiny.schema, "binary", 4, np.int64)
    assert all(export.vocabulary(name) == values for name, values in tiny.vocabulary.items())
    assert export.files.keys() == {
        "user_encoder.onnx", "candidate_scorer.onnx", "tables.data", *(f"vocab/{n}.json" for n in tiny.vocabulary),
    }  # fmt: skip


def test_no_vocabulary(tiny, tmp_path):
    assert read_export(tiny.write(tmp_path / "ids", vocabulary=None)).vocabulary("item") is None


@pytest.mark.parametrize("name", ["user_encoder.onnx", "candidate_scorer.onnx", "tables.data", VOCABULARY])
def test_damaged_files(folder, name):
    file = folder / name
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (whole[:-1], flipped, b""):
        file.write_bytes(damaged)
        with pytest.raises(
            ValueError, match=f"{name} is damaged: its SHA-256 is .*; copy the export's folder again, or"
        ):
            read_export(folder)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing, though export.json lists it; copy"):
        read_export(folder)
    file.write_bytes(whole)
    read_export(folder)


def test_files_that_serving_does_not_read_may_change(folder):
    (folder / "ranker.onnx").write_text("not one")
    (folder / "parity.txt").write_text("read by people")
    read_export(folder)


def test_no_export(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(FileNotFoundError, match=r"export.json is missing; expected the folder of an export"):
            read_export(path)


@pytest.mark.parametrize(
    "text", ["", '{"format": 1', "[]", "{}", "null", '{"format": 1}', "[" * 100_000, b"\xff\xfe\xfa"]
)
def test_damaged_json(folder, text):
    (folder / "export.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"export.json is damaged \(.*\); copy the export's folder again"):
        read_export(folder)


@pytest.mark.parametrize(
    "entry",
    [
        {"schema": []},
        {"ids": "int33"},
        {"ids": "float32"},
        {"max_len": "many"},
        {"max_len": 0},
        {"max_len": 4.5},
        {"task": "other"},
        {"files": 3},
        {"files": {}},
        {"files": None},
    ],
)
def test_wrong_entries(folder, entry):
    change(folder, **entry)
    with pytest.raises(ValueError, match=r"export.json is damaged"):
        read_export(folder)


def test_a_fact_that_was_changed(folder):
    """Each would be a fact that can be true, and the first two would change answers."""
    facts = json.loads((folder / "export.json").read_text())
    for change in ({"max_len": 3}, {"task": "regression"}, {"validation": {"auc": 1.0}}, {"sha256": None}):
        (folder / "export.json").write_text(json.dumps(facts | change))
        with pytest.raises(ValueError, match=r"export.json is damaged \(.*its SHA-256 is not that of its facts"):
            read_export(folder)
    (folder / "export.json").write_text(json.dumps(dict(reversed(facts.items())), indent=1))
    read_export(folder)


def test_another_format(folder):
    change(folder, format=1, schema="of another kind")
    with pytest.raises(ValueError, match="has format 1 and form 'onnx'; expected 2 and 'onnx': export again with this"):
        read_export(folder)


def test_a_digest_that_is_none(folder):
    change(folder, files={**json.loads((folder / "export.json").read_text())["files"], VOCABULARY: None})
    with pytest.raises(ValueError, match=f"{VOCABULARY} is damaged"):
        read_export(folder)


def test_the_digest_is_sha256(folder):
    assert read_export(folder).files[VOCABULARY] == hashlib.sha256((folder / VOCABULARY).read_bytes()).hexdigest()


def test_programs_are_not_for_onnxruntime(folder):
    change(folder, form="stablehlo")
    with pytest.raises(ValueError, match=r"form 'stablehlo'; expected 2 and 'onnx': .* --form onnx"):
        read_export(folder)


@pytest.mark.parametrize("name", ["vocab/../../secret", "vocab//etc/hostname", "vocab/link"])
def test_files_elsewhere_are_not_read(folder, tmp_path, name):
    (tmp_path / "secret").write_text("[1]")
    (folder / "vocab" / "link").symlink_to(tmp_path / "secret")
    files = json.loads((folder / "export.json").read_text())["files"]
    change(folder, files={**files, name: sha256(tmp_path / "secret")})
    with pytest.raises((ValueError, FileNotFoundError), match=r"which is not in it|is missing"):
        read_export(folder)


def test_a_table_whose_name_leads_elsewhere(folder):
    schema = json.dumps(json.loads((folder / "export.json").read_text())["schema"])
    change(folder, schema=json.loads(schema.replace('"name": "city"', '"name": "../../city"')))
    with pytest.raises(ValueError, match="cannot be the name of a file"):
        read_export(folder)
