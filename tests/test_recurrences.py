"""The comparison of recurrences: its configs can be built, and its table has differences in pairs."""

import pytest
from scipy import stats

from dienjax import Config
from experiments import recurrences
from experiments.benchmark.measure import ROOT


@pytest.mark.parametrize("case", recurrences.CASES)
@pytest.mark.parametrize("kind", recurrences.KINDS)
def test_every_config_loads(case, kind):
    changes = [*recurrences.KINDS[kind], *recurrences.CASES[case][1]]
    config = Config.load(ROOT / "experiments" / f"{case.partition(',')[0]}.toml", changes)
    assert config.model.options["kind"] == kind.partition(" ")[0]
    assert config.data.max_len == 200 or "T = 200" not in case


def test_a_difference_is_taken_seed_by_seed():
    found = {"AUGRU": (0.70, 0.80, 0.75), "minAUGRU": (0.71, 0.82, 0.75)}
    rows = [
        {"case": "a", "kind": kind, "seeds": [{"seed": i, "auc": x} for i, x in enumerate(aucs)]}
        for kind, aucs in found.items()
    ]
    *_, base, other = recurrences.table(rows).splitlines()
    assert base == "| a | AUGRU | 0.7500 ± 0.0500 | 0.7000 0.8000 0.7500 |  |"
    low, high = stats.t.interval(0.95, 2, loc=0.01, scale=stats.sem([0.01, 0.02, 0.0]))
    assert other.endswith(f"| +0.0100 ± {(high - low) / 2:.4f} |")
