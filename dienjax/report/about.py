"""What a page is about: the data, the settings, the model, what its training took, and the versions of everything."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from dienjax.data.store import Store
from dienjax.inspection.facts import Facts, Time, inspect
from dienjax.inspection.inspect import card
from dienjax.report.diagram import diagram
from dienjax.report.learning import recorded
from dienjax.report.naming import DAY, Names
from dienjax.report.scored import Scored
from dienjax.report.section import Block, Cell, Picture, Section, Table, Text
from dienjax.report.shapes import shapes
from dienjax.report.shapes import table as table_of
from dienjax.storage.files import read_object
from dienjax.training.run import Run, versions


def about_store(store: Store, names: Names) -> Section:
    """The data card: what `dienjax inspect` says."""
    facts, text = inspect(store), ""
    if names.anonymous:
        text = f"Times count {'' if facts.time_unit == 'numbers' else 'days '}from the first event."
        facts = _anonymous(facts)
    return Section("store", "Data", text, [Text(card(facts), code=True)], asdict(facts), folded=True)


def _anonymous(facts: Facts) -> Facts:
    """Facts that do not say when the events were, or where the store is."""
    unit = 1 if facts.time_unit == "numbers" else DAY

    def after(time: Time | None) -> Time | None:
        return None if time is None else round((time - facts.first) / unit, 1)

    def times(of: Any) -> dict[str, Any]:
        return {"first": after(of.first), "last": after(of.last)}

    splits = {name: replace(split, **times(split)) for name, split in facts.splits.items()}
    return replace(facts, path=Path(facts.path).name, time_unit="numbers", splits=splits, **times(facts))


def about_config(runs: Mapping[str, Scored]) -> Section:
    """The config of the first run, and where those of the others differ from it or from each other."""
    configs = {name: one.run.config.to_dict() for name, one in runs.items()}
    first_name, first = next(iter(configs.items()))
    blocks: list[Block] = []
    if len(runs) > 1:
        flat = {name: _flat(config) for name, config in configs.items()}
        keys = dict.fromkeys(key for of_run in flat.values() for key in of_run)
        rows = [[key, *(of_run.get(key, "") for of_run in flat.values())] for key in keys]
        differing = [row for row in rows if len({*row[1:]}) > 1]
        if differing:
            blocks.append(Table("Settings that differ", ["setting", *runs], differing, wide=True))
        blocks.append(Text(f"The settings of {first_name}:" if differing else "All runs have the same settings:"))
    blocks.append(Text(tomli_w.dumps(first), code=True))
    return Section("config", "Settings", "", blocks, configs, folded=True)


def _flat(config: Mapping[str, Any]) -> dict[str, str]:
    """The settings by section.key, as text."""
    return {f"{section}.{key}": str(value) for section, part in config.items() for key, value in part.items()}


def about_model(runs: Mapping[str, Scored]) -> Section:
    """Table and diagram of each model, once for the runs that share it."""
    models: dict[tuple[str, str], list[str]] = {}
    for name, one in runs.items():
        parts = (one.run.model, one.run.schema, one.run.config.loss)
        models.setdefault((table_of(*parts), diagram(*parts)), []).append(name)
    blocks: list[Block] = []
    for n, ((text, svg), names) in enumerate(models.items()):
        blocks += [Text(text, code=True), Picture(f"model-{n}", f"The model of {', '.join(names)}", svg)]
    parameters = {
        name: shapes(one.run.model, one.run.schema, one.run.config.loss).count() for name, one in runs.items()
    }
    return Section("model", "Model", "", blocks, {"parameters": parameters}, folded=True)


def cost(runs: Mapping[str, Scored]) -> Section:
    """Time and memory of the training, as far as the run recorded them."""
    numbers = {name: _taken(recorded(one.run)) for name, one in runs.items()}
    scales = {"seconds": 60, "rows_per_second": 1, "peak_memory_bytes": 1e9}
    rows: list[list[Cell]] = [
        [name, *("not recorded" if (value := taken[key]) is None else value / by for key, by in scales.items())]
        for name, taken in numbers.items()
    ]
    columns = ["run", "minutes", "candidates a second", "peak memory in GB"]
    text = (
        "Minutes of training, with its validations and compilations. Candidates a second are the median of the records "
        "of training steps, without compilation. Memory is that of the process on the host."
    )
    return Section("cost", "Time and memory", text, [Table("What the training took", columns, rows)], numbers)


def _taken(lines: list[dict[str, Any]]) -> dict[str, float | None]:
    last = lines[-1] if lines else {}
    speeds = [line["rows_per_second"] for line in lines if line.get("rows_per_second") is not None]
    return {
        "seconds": last.get("seconds"),
        "rows_per_second": float(np.median(speeds)) if speeds else None,
        "peak_memory_bytes": last.get("peak_memory_bytes"),
    }


def about_versions(runs: Mapping[str, Scored]) -> Section:
    """The versions that each run was made with, and those that make the page."""
    found = {name: _recorded_versions(one.run) for name, one in runs.items()} | {"this page": versions()}
    packages = dict.fromkeys(package for of_one in found.values() for package in of_one)
    rows: list[list[Cell]] = [
        [package, *(of_one.get(package) or "not recorded" for of_one in found.values())] for package in packages
    ]
    blocks: list[Block] = [Table("Versions", ["package", *found], rows)]
    return Section("versions", "Versions", "", blocks, found, folded=True)


def _recorded_versions(run: Run) -> dict[str, str | None]:
    file = run.path / "versions.json"
    return read_object(file) if file.is_file() else {}
