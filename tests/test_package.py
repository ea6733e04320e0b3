"""What is installed: the content of the wheel, and what works of it where packages are missing."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_string
from pathlib import Path

import numpy as np
import pytest

import dienjax

ROOT = Path(__file__).parents[1]
SITE = Path(np.__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
FROZEN = Path(__file__).parent / "reference/frozen/folders_0.1.tar.xz"
PAGE = ("html.j2", "css", "js")
HEAVY = {"jax", "jaxlib", "flax", "optax", "orbax", "numpy", "pandas", "pyarrow", "tyro", "pydantic"}
COMMANDS = {
    "demo": "",
    "prepare": "--events a --user u --item i --time t --out o",
    "inspect": "store",
    "train": "dien --store store --run run",
    "evaluate": "run",
    "report": "run",
    "predict": "run --input a --output b",
    "describe": "dien",
    "export": "run --output o",
    "import-weights": "w.npz --source torch_rechub --model DIN --schema s --columns a --run run",
    "export-weights": "run --target torch_rechub --columns a --output w.npz",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The folder that an installation of the wheel leaves."""
    pytest.importorskip("setuptools", minversion="77", reason="needs setuptools 77: pip install '.[dev]'")
    copy, folder = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("site")
    for name in ("dienjax", "data_prep", "experiments"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    code = "from setuptools import build_meta; build_meta.build_wheel('.')"
    subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, check=True)
    with zipfile.ZipFile(copy / f"dienjax-{VERSION}-py3-none-any.whl") as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def python(wheel, tmp_path, tmp_path_factory):
    """Run Python where the wheel is installed, and of other packages only those that a condition chooses by name."""

    def run(chosen, *argv):
        site = tmp_path_factory.mktemp("others")
        for path in SITE.iterdir():
            if chosen(path.name.removesuffix(".py").partition(".")[0]) and path.suffix != ".dist-info":
                (site / path.name).symlink_to(path)
        environment = os.environ | {"PYTHONPATH": f"{wheel}{os.pathsep}{site}"}
        command = [sys.executable, "-S", *map(str, argv)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    return run


def test_the_wheel_holds_the_package_alone(wheel):
    about = wheel / f"dienjax-{VERSION}.dist-info"
    assert {path.name for path in wheel.iterdir()} == {"dienjax", about.name}
    inside = {path.relative_to(wheel / "dienjax").as_posix() for path in (wheel / "dienjax").rglob("*")}
    sources = {path.relative_to(ROOT / "dienjax").as_posix() for path in (ROOT / "dienjax").rglob("*.py")}
    others = {"py.typed", "configs/dien.toml", "configs/din.toml", *(f"report/page.{end}" for end in PAGE)}
    assert sources | others <= inside
    assert (about / "licenses" / "LICENSE").is_file()
    metadata = message_from_string((about / "METADATA").read_text(encoding="utf-8"))
    assert metadata["License-Expression"] == "Apache-2.0" and "Typing :: Typed" in metadata.get_all("Classifier")


def test_import_and_version_load_nothing_heavy():
    assert "__version__" in dir(dienjax)
    code = f"import sys, dienjax; dienjax.__version__; print({HEAVY!r} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_folder_of_sources_has_no_version(tmp_path):
    shutil.copy(ROOT / "dienjax/__init__.py", tmp_path / "dienjax.py")
    code = "import dienjax; print(dienjax.__version__)"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "unknown (not installed)\n"


def test_without_any_other_package(python):
    assert python(lambda name: False, "-m", "dienjax", "--version").stdout == f"dienjax {VERSION}\n"
    refused = python(lambda name: False, "-m", "dienjax", "--help")
    said = "dienjax: the command line needs tyro, which is not installed: pip install tyro\n"
    assert (refused.returncode, refused.stderr) == (2, said)


def test_a_ranker_needs_numpy_and_onnxruntime(python, tmp_path):
    """As `pip install --no-deps` of the wheel leaves it; the answers are those of the model that was exported."""
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install '.[serving]'")
    with tarfile.open(FROZEN) as archive:
        archive.extractall(tmp_path, filter="data")
    code = (
        "from dienjax.serving import Ranker\n"
        "history = {'item': [100, 105, 111], 'category': ['c0', 'c1', 'c3']}\n"
        "candidates = {'item': [104, 109, 999], 'category': ['c0', 'c1', 'c2']}\n"
        "print(Ranker('export').score(history, candidates, {'city': 'A'}).tolist())"
    )
    done = python(lambda name: name in ("numpy", "onnxruntime"), "-c", code)
    expected = json.loads((tmp_path / "expected.json").read_text())["predict"][0]
    np.testing.assert_allclose(json.loads(done.stdout), expected, rtol=1e-5)


def test_commands_name_the_package_that_is_missing(python):
    """Without JAX the help is there, and a command that needs JAX says so in one line."""
    code = (
        "import json, sys\nfrom dienjax.cli import main\n"
        f"for name, options in {COMMANDS!r}.items():\n"
        "    try:\n        main([name, *options.split()])\n"
        "    except SystemExit as left:\n        assert left.code == 2"
    )

    def light(name):
        return name not in HEAVY - {"tyro"}

    helped = python(light, "-m", "dienjax", "--help")
    assert helped.returncode == 0 and all(command in helped.stdout for command in COMMANDS)
    done = python(light, "-c", code)
    lines = done.stderr.splitlines()
    assert len(lines) == len(COMMANDS), done.stderr
    for command, line in zip(COMMANDS, lines, strict=True):
        assert line.startswith(f"dienjax {command}: ")
        assert line.endswith(" is not installed; `pip install dienjax` adds all that is missing")
