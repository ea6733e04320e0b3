"""Dependencies point one way, and nothing heavy or optional is imported before it is needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dienjax

PACKAGE = Path(dienjax.__file__).parent
OPTIONAL = {"torch", "onnx", "onnx_ir", "onnxruntime", "jax2onnx", "matplotlib", "tensorboardX", "sklearn"}
MODELLING = ("embedding", "layers", "models", "losses", "train", "config", "fitting")
BELOW = {  # room: what it must not know
    "errors": {"dienjax"},
    "leftovers": {"dienjax"},
    "files": {"dienjax.errors", "dienjax.schema", "dienjax.data", "dienjax.run", "dienjax.manifest", "dienjax.folders"},
    "folders": {"dienjax.errors", "dienjax.schema", "dienjax.data", "dienjax.run", "dienjax.manifest"},
    "manifest": {"dienjax.errors", "dienjax.schema", "dienjax.data", "dienjax.run", "dienjax.folders"},
    "schema": {
        "dienjax.batch",
        "dienjax.embedding",
        "dienjax.layers",
        "dienjax.data",
        "dienjax.models",
        "dienjax.train",
    },
    "batch": {"dienjax.embedding", "dienjax.layers", "dienjax.data", "dienjax.models", "dienjax.train"},
    "data": {"dienjax.preparation", *(f"dienjax.{room}" for room in MODELLING)},
    "preparation": {f"dienjax.{room}" for room in ("batch", *MODELLING)},
    "inspection": {f"dienjax.{room}" for room in ("batch", *MODELLING)},
    "models": {"dienjax.losses", "dienjax.train", "dienjax.data", "dienjax.config", "dienjax.fitting"},
    "train": {"dienjax.data", "dienjax.config", "dienjax.fitting", "dienjax.run"},
}


def imports(file):
    """The modules that a file imports at its top level."""
    names = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    return names


def files(room):
    return [PACKAGE / f"{room}.py"] if (PACKAGE / f"{room}.py").exists() else sorted((PACKAGE / room).glob("*.py"))


@pytest.mark.parametrize("room", BELOW)
def test_rooms_know_only_what_stands_below_them(room):
    for file in files(room):
        for name in imports(file):
            assert not any(name == f or name.startswith(f + ".") for f in BELOW[room]), (file.name, name)


def test_serving_knows_next_to_nothing():
    known = ("dienjax.errors", "dienjax.files", "dienjax.schema", "dienjax.serving")
    for file in files("serving"):
        for name in imports(file):
            assert not name.startswith("dienjax") or name.startswith(known), (file.name, name)


def test_nothing_knows_export():
    for file in PACKAGE.rglob("*.py"):
        if file.parent.name != "export":
            assert not any(name.startswith("dienjax.export") for name in imports(file)), file


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_every_file_says_its_job_and_stays_small(file):
    text = file.read_text()
    assert ast.get_docstring(ast.parse(text)), "the first line says the file's one job"
    assert text.count("\n") <= 400
    assert "dienjax.cli" not in imports(file)


@pytest.mark.parametrize("module", ["dienjax", "dienjax.export"])
def test_import_loads_nothing_optional(module):
    code = f"import sys, {module}; print(sorted({OPTIONAL!r} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("module", ["dienjax", "dienjax.cli", "dienjax.preparation.prepare"])
def test_preparing_a_log_never_loads_jax(module):
    code = f"import sys, {module}; print({{'jax', 'flax'}} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_public_names():
    assert set(dienjax.__all__) == {
        "DIEN", "DIN", "Batch", "Behaviour", "Config", "DataConfig", "Dense", "FitConfig", "Loader", "LossConfig",
        "ModelConfig", "OptimizerConfig", "PaddedArrays", "Run", "Schema", "Sparse", "Store", "StoreSplit", "Table",
        "evaluate", "fit", "fit_store", "predict", "prepare",
    }  # fmt: skip
    for name in dienjax.__all__:
        assert getattr(dienjax, name).__doc__, name
