"""A model of one's own is found by its name, and nothing is imported that is no such class."""

import sys

import pytest

from dienjax.models import DIEN, DIN
from dienjax.models.by_name import model_class, title
from dienjax.training.config import Config, ModelConfig

CLASS = """
from dataclasses import field
from typing import Callable
from flax import linen as nn
from dienjax.models.embedding import FeatureEmbedder
from dienjax.schema import Schema

class Mine(nn.Module):
    schema: Schema
    width: int = 4
    rate: float = 0.5
    call: Callable = len

    def setup(self): self.embedder = FeatureEmbedder(self.schema)
    def __call__(self, batch, train=False): return self.net(self.embed(batch), train)
    def embed(self, batch): return self.embedder(batch)
    def net(self, e, train=False): return None
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module of a fresh name, which a package holds, and gives that name."""
    monkeypatch.syspath_prepend(tmp_path)
    names = iter(f"own_{id(tmp_path)}_{number}" for number in range(9))

    def write(text):
        name = next(names)
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / name / "models.py").write_text(text)
        return f"{name}.models"

    yield write
    for name in [name for name in sys.modules if name.startswith(f"own_{id(tmp_path)}")]:
        del sys.modules[name]


def test_ours_and_ones_own(module):
    assert (model_class("DIN"), model_class("DIEN")) == (DIN, DIEN)
    name = f"{module(CLASS)}:Mine"
    assert model_class(name).__name__ == title(name) == "Mine"
    assert title("DIEN") == "DIEN"


def test_fields_are_settings_of_the_config(module):
    name = f"{module(CLASS)}:Mine"
    config = Config.from_dict({"model": {"name": name, "width": 3}})
    assert config.to_dict()["model"] == {"name": name, "dim": 0, "width": 3, "rate": 0.5}
    assert Config.from_dict(config.to_dict()).to_dict() == config.to_dict()
    with pytest.raises(ValueError, match=r"unknown key model.widht; did you mean 'width'\?"):
        ModelConfig(name, options={"widht": 3})
    with pytest.raises(ValueError, match=r"model.width is '3'; expected a valid integer"):
        ModelConfig(name, options={"width": "3"})
    with pytest.raises(ValueError, match=r"model.rate is 'fast'"):
        ModelConfig(name, options={"rate": "fast"})


@pytest.mark.parametrize("name", ["DEIN", "os", "a.b", "a.b:", ":C", "a b:C", "a..b:C", "a.b:C.d", "../a:C", "a-b:C"])
def test_a_name_of_another_form(name):
    with pytest.raises(ValueError, match=r"or package.module:Class for your own"):
        model_class(name)


def test_a_module_that_is_not_there_says_what_to_do():
    for name in ("nosuch_package:Mine", "nosuch_package.models:Mine", "json.nosuch:Mine", "antigravity.models:Mine"):
        with pytest.raises(ValueError, match=r"there is no module .*pip install -e FOLDER.*PYTHONPATH"):
            model_class(name)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "defines no class 'Mine'; known names: none"),
        ("class Mine(:", r"models.py cannot be read \(invalid syntax.*correct it"),
        ("class Mein: pass", r"defines no class 'Mine'; did you mean 'Mein'\?"),
        ("def Mine(): pass", "defines no class 'Mine'"),
        ("class Mine:\n    schema: int", "does not define embed, net itself, at .*models.py:"),
        ("if True:\n" + CLASS.replace("\n", "\n    "), "defines no class 'Mine'"),
    ],
)
def test_what_is_no_model_is_not_even_imported(text, message, module):
    name = module(f"{text}\nimport pathlib\npathlib.Path(__file__).with_name('ran').touch()\n")
    with pytest.raises(ValueError, match=message):
        model_class(f"{name}:Mine")
    assert name not in sys.modules and name.partition(".")[0] not in sys.modules


@pytest.mark.parametrize("name", ["antigravity:Mine", "sys:Mine", "_json:Mine", "http.server:HTTPServer"])
def test_modules_of_python_are_none(name):
    before = set(sys.modules)
    with pytest.raises(ValueError, match=name):
        model_class(name)
    assert "antigravity" not in set(sys.modules) - before


def test_an_error_of_the_module_itself(module):
    name = module(CLASS + "\nraise RuntimeError('not today')\n")
    with pytest.raises(ValueError, match=r"cannot be imported .*not today"):
        model_class(f"{name}:Mine")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("class Mine(nn.Module)", "class Mine", "to be a class derived from flax.linen.Module"),
        (
            "    schema: Schema\n    width: int = 4",
            "    width: int = 4\n    schema: Schema = None",
            "a first field schema",
        ),
        ("width: int", "dim: int", "another name for the field 'dim'"),
        ("width: int = 4", "width: int", "a default, no list or dict, for its field 'width'"),
        ("width: int = 4", "width: list = field(default_factory=list)", "for its field 'width'"),
    ],
)
def test_a_class_that_lacks_something_is_told_what(old, new, message, module):
    name = module(CLASS.replace(old, new))
    with pytest.raises(ValueError, match=rf"lacks .*{message}.*; expected a dienjax.models.Model"):
        model_class(f"{name}:Mine")
