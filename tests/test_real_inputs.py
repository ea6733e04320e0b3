"""The comparison of inputs on public data: its recipes and configs can be read, and its table is in pairs."""

import importlib

import pytest
import tyro

from dienjax import Config
from experiments.benchmark.measure import ROOT
from experiments.inputs import real
from experiments.results import STORES


@pytest.mark.parametrize(("name", "what"), [(name, what) for name, (_, of) in real.CASES.items() for what in of])
def test_every_choice_can_be_prepared_and_trained(name, what):
    store, choices = real.CASES[name]
    recipe, *arguments = (part.replace("{data}", "data") for part in (*STORES[store], *choices[what].recipe))
    args = tyro.cli(importlib.import_module(f"data_prep.{recipe}").Args, args=[*arguments, "--out", "store"])
    assert args.time_fields == (("gap",) if "gap" in what else ())
    config = Config.load(ROOT / "experiments" / f"{name}.toml", choices[what].config)
    assert config.model.options.get("attention_time", "") == ("gap" if "in the attention" in what else "")


def test_a_choice_is_held_to_the_first_of_its_config():
    found = {("a", "x"): (0.7, 0.8), ("a", "y"): (0.72, 0.82), ("b", "x"): (0.5,), ("b", "z"): (0.6,)}
    rows = [
        {"config": config, "inputs": what, "seeds": [{"seed": i, "auc": x} for i, x in enumerate(aucs)]}
        for (config, what), aucs in found.items()
    ]
    _, _, *lines = real.table(rows).splitlines()
    assert lines == [
        "| a | x | 0.7500 ± 0.0707 | 0.7000 0.8000 |  |",
        "| a | y | 0.7700 ± 0.0707 | 0.7200 0.8200 | +0.0200 ± 0.0000 |",
        "| b | x | 0.5000 | 0.5000 |  |",
        "| b | z | 0.6000 | 0.6000 | +0.1000 |",
    ]
