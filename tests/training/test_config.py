import re
from dataclasses import asdict, replace

import pytest

from dienjax import fit_store
from dienjax.models import DIEN
from dienjax.schema import Behaviour, Schema, Table
from dienjax.training.checkpoint import steps
from dienjax.training.config import CONFIGS, Config, DataConfig, FitConfig, ModelConfig
from dienjax.training.losses import LossConfig
from dienjax.training.optimizers import OptimizerConfig


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
        ({"model": {"kind": "GRUU"}}, "model.kind is 'GRUU'; expected 'GRU'"),
        ({"model": {"tower": ["a"]}}, "model.tower is"),
        ({"loss": {"alpah": 1.0}}, "unknown key loss.alpah; did you mean 'alpha'?"),
        ({"loss": {"alpha": "much"}}, "loss.alpha is 'much'; expected a valid number"),
        ({"loss": 1}, "expected a section"),
        ({"data": {"batch_size": 0}}, "data.batch_size is 0; expected at least 1"),
        ({"fit": {"seed": -1}}, "fit.seed is -1; expected at least 0"),
        ({"fit": {"epochs": 2.5}}, "fit.epochs is 2.5"),
        ({"fit": {"seed": 2**32}}, "fit.seed is 4294967296; expected at most 4294967295"),
        ({"fit": {"save_every": -1}}, "fit.save_every is -1; expected at least 0"),
        ({"fit": {"evaluate_every": -1}}, "fit.evaluate_every is -1; expected at least 0"),
        ({"fit": {"patience": -1}}, "fit.patience is -1; expected at least 0"),
        ({"fit": {"log_every": 0}}, "fit.log_every is 0; expected at least 1"),
        ({"data": {"batch_size": 10**11}}, "data.batch_size is 100000000000; expected at most 1000000"),
        ({"data": {"max_len": 10**9}}, "data.max_len is 1000000000; expected at most 100000"),
        ({"data": {"lengths": 0}}, "data.lengths is 0; expected at least 1"),
        ({"data": {"lengths": []}}, "data.lengths is []; expected a valid integer or at least 1 item"),
        (
            {"data": {"lengths": [8, 10**9]}},
            "data.lengths is [8, 1000000000]; expected a valid integer or each at",
        ),
        ({"model": {"dim": -1}}, "model.dim is -1; expected 0 or at least 1"),
        ({"model": {"dim": {"item": 0}}}, "model.dim is {'item': 0}; expected 0 or "),
        ({"model": {"state": -1}}, "model.state is -1; expected 0 or at least 1"),
        ({"model": {"tower": [200, 0]}}, "model.tower is [200, 0]; expected each at least 1"),
        ({"model": {"tower": [10**9]}}, "model.tower is [1000000000]; expected each at most 100000"),
        ({"model": {"attention_hidden": []}}, "model.attention_hidden is []; expected at least 1 item"),
        ({"model": {"auxiliary_hidden": [-5]}}, "model.auxiliary_hidden is [-5]; expected each at least 1"),
        ({"model": {"dtype": "float16"}}, "model.dtype is 'float16'; expected 'float32' or 'bfloat16'"),
        ({"model": {"dropout": 1.0}}, "model.dropout is 1.0; expected a number below 1"),
        ({"model": {"name": "DIN", "dropout": -0.5}}, "model.dropout is -0.5; expected at least 0"),
        ({"fit": {"epochs": True}}, "fit.epochs is True; expected a valid integer"),
        ({"data": {"lengths": [True]}}, "data.lengths is [True]; expected "),
        ({"optimizer": {"learning_rate": "1e-3"}}, "optimizer.learning_rate is '1e-3'; expected a valid number"),
        ({"model": {"name": 5}}, "model.name is 5; expected a valid string"),
    ],
)
def test_bad_values_say_where_and_what_was_expected(data, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Config.from_dict(data)


RATES = ("learning_rate", "decay", "momentum", "clip_norm", "weight_decay")
NONE, LESS = [float("nan"), float("inf"), -float("inf")], -1e-9


@pytest.mark.parametrize(
    ("section", "name", "values", "expected"),
    [
        (OptimizerConfig, "learning_rate", [0, -0.1], "a number above 0"),
        (OptimizerConfig, "decay", [0, -1], "a number above 0"),
        (OptimizerConfig, "decay", [1.5], "at most 1"),
        (OptimizerConfig, "momentum", [1], "a number below 1"),
        (OptimizerConfig, "momentum", [LESS], "at least 0"),
        (OptimizerConfig, "clip_norm", [LESS], "at least 0"),
        (OptimizerConfig, "weight_decay", [LESS], "at least 0"),
        (OptimizerConfig, "warmup_steps", [-1], "at least 0"),
        (OptimizerConfig, "warmup_steps", [2**31], "at most 2147483647"),
        (LossConfig, "alpha", [LESS], "at least 0"),
        (LossConfig, "l2_embedding", [LESS], "at least 0"),
        (LossConfig, "l2_tower", [LESS], "at least 0"),
        *((OptimizerConfig, n, NONE, "a finite number") for n in RATES),
        *((LossConfig, n, NONE, "a finite number") for n in ("alpha", "l2_embedding", "l2_tower")),
    ],
)
def test_a_setting_without_meaning_is_refused_in_python_too(section, name, values, expected):
    where = "optimizer" if section is OptimizerConfig else "loss"
    for value in values:
        with pytest.raises(ValueError, match=re.escape(f"{where}.{name} is {value!r}; expected {expected}")):
            section(**{name: value})


def test_the_limits_themselves_are_allowed():
    OptimizerConfig(decay=1, momentum=0.999, clip_norm=0, weight_decay=0, warmup_steps=0)
    LossConfig(alpha=0)
    fit = FitConfig(seed=2**32 - 1, save_every=0, patience=0, evaluate_every=0)
    assert FitConfig(**{**asdict(fit), "epochs": 10**6}).seed == 2**32 - 1
    assert DataConfig(lengths=[2, 4]).lengths == (2, 4), "a list is a tuple, as from TOML"
    assert ModelConfig(options={"tower": [], "auxiliary_hidden": ()}).options == {"tower": (), "auxiliary_hidden": ()}


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


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a = " + b"[" * 5000, b"a = 1\na = 2\n"])
def test_what_is_no_toml_names_the_file(tmp_path, content):
    (tmp_path / "c.toml").write_bytes(content)
    with pytest.raises(ValueError, match=r"c\.toml: not valid TOML"):
        Config.load(tmp_path / "c.toml")


def test_an_override_of_what_is_no_section(tmp_path):
    (tmp_path / "c.toml").write_text("model = 1\n")
    with pytest.raises(ValueError, match=r"model is 1; expected a section \[model\]"):
        Config.load(tmp_path / "c.toml", ["model.kind=AGRU"])


def test_a_shipped_config_goes_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Config.load("din", ["fit.epochs=5"]).fit.epochs == 5
    (tmp_path / "din").mkdir()
    assert Config.load("din").model.name == "DIN"
    (tmp_path / "dien").write_text('[model]\nname = "DIN"\n')
    assert Config.load("dien").model.name == "DIN", "a file of that name goes before it"
    for name, known in (("dine", "din, dien"), ("diens", "dien, din"), ("../configs/din", "din, dien")):
        with pytest.raises(FileNotFoundError, match=f"no config '{name}'; expected a TOML .* shipped: {known}"):
            Config.load(name)


def test_auto_is_the_larger_training_split():
    config = Config(data=DataConfig(train="auto"))
    assert config.for_splits(["train", "test"]).data.train == "train"
    assert config.for_splits(["train", "train_all", "test"]).data.train == "train_all"
    config = Config()
    assert config.for_splits(["train", "train_all"]) is config


@pytest.mark.slow
@pytest.mark.parametrize("name", [file.stem for file in CONFIGS.glob("*.toml")])
def test_a_shipped_config_trains(name, drift_store, tmp_path):
    """One step of one batch, with small layers."""
    small = ["model.dim=2", "model.attention_hidden=[2]", "model.tower=[2]", "data.lengths=[2]"]
    config = Config.load(name, [*small, "data.max_len=2", "data.batch_size=2000", "fit.epochs=1"])
    run = fit_store(config, drift_store, tmp_path / "run", progress=False)
    assert run.config.data.train == Config.load(run.path / "config.toml").data.train == "train_all"
    assert steps(run.path, "last") == [1]


def test_auxiliary_loss_only_where_the_model_has_one():
    assert Config.from_dict({}).auxiliary
    assert not Config.from_dict({"loss": {"alpha": 0.0}}).auxiliary
    assert not Config.from_dict({"model": {"name": "DIN"}}).auxiliary
