import re
from dataclasses import replace

import pytest

from dienjax.config import Config, ModelConfig
from dienjax.models import DIEN
from dienjax.schema import Behaviour, Schema, Table


def test_defaults_survive_the_disk(tmp_path):
    model = {"kind": "AGRU", "dim": {"item": 4}, "tower": [8]}
    config = Config.from_dict({"model": model, "data": {"lengths": [2, 4]}})
    config.save(tmp_path / "config.toml")
    again = Config.load(tmp_path / "config.toml")
    assert again.to_dict() == config.to_dict()
    assert again.model.options["tower"] == (8,) and again.data.lengths == (2, 4)
    assert replace(again, model=config.model) == config


def test_build_gives_the_module_with_the_config_fields():
    schema = Schema((Table("item", 9, 18),), (Behaviour("item"),))
    model = ModelConfig("DIEN", 4, {"kind": "AIGRU"}).build(schema)
    assert isinstance(model, DIEN) and model.kind == "AIGRU" and model.schema.table("item").dim == 4
    assert ModelConfig("DIN").build(schema).schema.table("item").dim == 18


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"modle": {}}, "unknown key modle; did you mean 'model'?"),
        ({"model": {"name": "DEIN"}}, "did you mean 'DIN' or 'DIEN'?"),
        ({"model": {"name": "DIN", "soft_max": True}}, "unknown key model.soft_max; did you mean 'softmax'?"),
        ({"model": {"name": "DIN", "kind": "GRU"}}, "unknown key model.kind"),
        ({"model": {"kind": "GRUU"}}, "model.kind is 'GRUU': Input should be 'GRU'"),
        ({"model": {"tower": ["a"]}}, "model.tower is"),
        ({"loss": {"alpah": 1.0}}, "unknown key loss.alpah; did you mean 'alpha'?"),
        ({"loss": {"alpha": "much"}}, "loss.alpha is 'much': Input should be a valid number"),
        ({"loss": 1}, "expected a section"),
        ({"data": {"batch_size": 0}}, "data.batch_size is 0; expected at least 1"),
        ({"fit": {"seed": -1}}, "fit.seed is -1; expected at least 0"),
        ({"fit": {"epochs": 2.5}}, "fit.epochs is 2.5"),
    ],
)
def test_bad_values_say_where_and_what_was_expected(data, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Config.from_dict(data)


def test_overrides_are_typed(tmp_path):
    (tmp_path / "c.toml").write_text("[loss]\nalpha = 1.0\n")
    overrides = ["loss.alpha=0.5", "model.kind=AGRU", "data.lengths=[2, 8]", "fit.tensorboard=true"]
    config = Config.load(tmp_path / "c.toml", overrides)
    assert (config.loss.alpha, config.model.options["kind"], config.data.lengths) == (0.5, "AGRU", (2, 8))
    assert config.fit.tensorboard is True


@pytest.mark.parametrize("override", ["alpha=1", "loss.alpha", "a.b.c=1"])
def test_malformed_overrides(tmp_path, override):
    (tmp_path / "c.toml").write_text("")
    with pytest.raises(ValueError, match=r"expected section\.key=value"):
        Config.load(tmp_path / "c.toml", [override])


def test_broken_toml_names_the_file(tmp_path):
    (tmp_path / "c.toml").write_text("[loss\n")
    with pytest.raises(ValueError, match=r"c\.toml: not valid TOML"):
        Config.load(tmp_path / "c.toml")


def test_auxiliary_loss_only_where_the_model_has_one():
    assert Config.from_dict({}).auxiliary
    assert not Config.from_dict({"loss": {"alpha": 0.0}}).auxiliary
    assert not Config.from_dict({"model": {"name": "DIN"}}).auxiliary
