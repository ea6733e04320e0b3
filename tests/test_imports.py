"""Dependencies point one way, and nothing heavy or optional is imported before it is needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dienjax

PACKAGE = Path(dienjax.__file__).parent
OPTIONAL = {
    "torch",
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "jax2onnx",
    "matplotlib",
    "tensorboardX",
    "sklearn",
    "duckdb",
    "pyspark",
    "altair",
    "vl_convert",
    "jinja2",
}
STAGES = [
    "errors", "storage", "schema", "inputs", "serving", "batch", "data", "preparation", "drawing", "inspection",
    "models", "training", "report", "interop", "export", "demo", "cli",
]  # fmt: skip
"""The rooms of the package in the order in which they build on each other."""


def imports(file):
    """The modules that a file imports, in its functions too."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"dienjax.{alias.name}" for alias in node.names} if node.module == "dienjax" else {node.module}
    return names


def files(room):
    return [PACKAGE / f"{room}.py"] if (PACKAGE / f"{room}.py").exists() else sorted((PACKAGE / room).glob("*.py"))


def test_every_room_is_a_stage():
    found = {path.stem for path in PACKAGE.glob("*.py")} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {name for name in found if not name.startswith("_")} == set(STAGES)
    assert len(list(PACKAGE.glob("*.py"))) <= 8, "the root is for what all stages share"


@pytest.mark.parametrize("room", STAGES)
def test_rooms_know_only_what_stands_below_them(room):
    below = STAGES[: STAGES.index(room) + 1]
    for file in files(room):
        for name in imports(file):
            if name.startswith("dienjax"):
                assert name.split(".")[1] in below, (file.name, name)


def test_serving_knows_next_to_nothing():
    alone = ("errors", "storage.files", "schema", "inputs", "serving")
    known = tuple(f"dienjax.{name}" for name in alone)
    for file in files("serving"):
        for name in imports(file):
            assert not name.startswith("dienjax") or name.startswith(known), (file.name, name)


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_every_file_says_its_job_and_stays_small(file):
    text = file.read_text()
    assert ast.get_docstring(ast.parse(text)), "the first line says the file's one job"
    assert text.count("\n") <= 400


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
        "DIEN", "DIN", "Batch", "Behaviour", "Channel", "Config", "DataConfig", "Dense", "FitConfig", "Loader",
        "LossConfig", "ModelConfig", "OptimizerConfig", "PaddedArrays", "Run", "Schema", "Sparse", "Store",
        "StoreSplit", "Table", "cache_compilations", "evaluate", "explain", "fit", "fit_seeds", "fit_store", "predict",
        "prepare", "write_report",
    }  # fmt: skip
    for name in dienjax.__all__:
        assert getattr(dienjax, name).__doc__, name


def test_every_test_file_has_a_name_of_its_own():
    """pytest imports them by name, and takes one of each."""
    names = [path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py"]
    assert sorted({*names}) == sorted(names)
