import json

import pytest

from dienjax.data.drift import DriftWorld
from dienjax.demo import demo


def test_dien_beats_din_where_interests_drift(tmp_path):
    """A smaller world than the demo's: the optimum is 0.90 there, and order-blind scorers end near 0.72."""
    results = demo(tmp_path / "demo", DriftWorld(users=1500, events_min=20, events_max=30), epochs=3)
    assert results["DIEN"] > results["DIN"] + 0.05
    assert results["DIN"] < results["DIEN"] < results["optimum"] + 0.02
    assert json.loads((tmp_path / "demo/result.json").read_text()) == results
    assert (tmp_path / "demo/dien/curves.png").exists()
    with pytest.raises(FileExistsError):
        demo(tmp_path / "demo")
