"""A run's model, or a config's, as text and picture."""

from pathlib import Path
from xml.etree import ElementTree as ET

from builders import SCHEMA
from dienjax.report.describe import describe_file
from dienjax.training.config import Config
from dienjax.training.run import Run


def test_describe_file_of_a_run_and_of_a_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = Config.from_dict({"model": {"name": "DIEN", "kind": "AGRU", "dim": 4}, "loss": {"alpha": 0.0}})
    Run.create(tmp_path / "run", config, SCHEMA)
    said = describe_file(tmp_path / "run")
    assert said.startswith("DIEN · AGRU")
    assert "scorer" not in said
    assert said.endswith(f"diagram: {tmp_path / 'run' / 'model.svg'}")
    ET.parse(tmp_path / "run" / "model.svg")
    config.save("mine.toml")
    said = describe_file("mine.toml")
    assert "The schema is an example" in said
    assert "[10000, 4]" in said
    ET.parse(Path("mine.svg"))
    assert describe_file("mine.toml", svg="other.svg").endswith("diagram: other.svg")
    ET.parse(Path("other.svg"))
