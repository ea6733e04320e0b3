"""Our models beside deepctr-torch's and torch-rechub's with the same random weights: outputs, gradients, training.

    python -m experiments.crosscheck_torch

Prints a table, writes it and its numbers to experiments/crosscheck_torch/results, and exits with 1 if a row misses its
target. It needs `pip install '.[torch]'`. With `--freeze` it writes tests/reference/frozen instead: inputs and outputs
of some variants, by which the tests check dienjax without torch.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import tyro

from dienjax.storage.files import write_json, write_text
from experiments.benchmark.report import table
from experiments.crosscheck_torch.compare import FLOOR, TARGETS, missed, row

RESULTS = Path(__file__).parent / "results"
STEPS = 50

COLUMNS = {
    "library": "library",
    "name": "model",
    "title": "variant",
    "probability": "probability",
    "probability_64": "f64",
    "auxiliary": "auxiliary loss",
    "auxiliary_64": "f64",
    "gradient": "gradient",
    "gradient_64": "f64",
    "trained": f"{STEPS} steps",
    "trained_64": "f64",
    "round_trip": "round trip",
    "remark": "remark",
}
SEEN = {"library": "library", "name": "model", "what": "where", "theirs": "what it does", "ours": "dienjax"}
CAPTION = f"""Largest differences from the library in float64: of our float32 (in brackets: of its own), and of our
float64. B = 16 ragged histories of up to 6 behaviours, all weights and statistics random.

- probability: in train and in eval mode; auxiliary loss: before its weight;
- gradient: of each parameter, relative to its largest or to {FLOOR:.0%} of the largest of the model;
- {STEPS} steps: parameters after Adam at 1e-3 (f64: batch norm statistics too). Adam magnifies rounding wherever a
  gradient is almost 0, so training is judged in float64; † marks what is above the target in float32;
- *: how far apart biases before a batch norm or a softmax are after training in float32, where they are left out: their
  true gradient is 0, and Adam moves them by rounding noise.

Targets: {", ".join(f"{name} {target:.0e}" for name, target in TARGETS.items())}; round trips bit for bit."""


def main(freeze: bool = False, out: Path = RESULTS) -> int:
    """Compare all variants; the exit code is 0 if every row meets its targets.

    Args:
      freeze: write tests/reference/frozen instead of comparing.
      out: folder of the results.
    """
    packages = {"torch": "torch", "deepctr_torch": "deepctr-torch", "torch_rechub": "torch-rechub"}
    missing = [name for module, name in packages.items() if importlib.util.find_spec(module) is None]
    if missing:
        print(f"not installed: {', '.join(missing)}; pip install '.[torch]'", file=sys.stderr)
        return 2
    if freeze:
        from experiments.crosscheck_torch.freeze import freeze_all

        freeze_all()
        return 0
    from experiments.crosscheck_torch.wrong import different, observations

    rows = compare_all()
    wrong, other = observations(), different()
    text = "\n\n".join(
        [
            table(list(map(_shown, rows)), COLUMNS),
            CAPTION,
            "Where the other library crashes or is wrong:",
            table(wrong, SEEN),
            "Where dienjax differs from it, in training alone:",
            table(other, SEEN),
        ]
    )
    print(text)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "crosscheck.md", f"{text}\n")
    write_json(out / "crosscheck.json", {"targets": TARGETS, "rows": rows, "wrong": wrong, "different": other})
    failures = [f"{r['library']} {r['name']}, {r['title']}: {', '.join(r['missed'])}" for r in rows if r["missed"]]
    print("\n".join(["missed:", *failures]) if failures else f"all {len(rows)} rows meet their targets")
    return 1 if failures else 0


def compare_all() -> list[dict[str, Any]]:
    """A row for each variant."""
    import torch

    from experiments.crosscheck_torch.catalogue import VARIANTS

    torch.set_num_threads(1)  # threads of two libraries that wait for each other cost more than they bring
    rows = []
    for seed, variant in enumerate(VARIANTS):
        print(f"{seed + 1}/{len(VARIANTS)} {variant.source} {variant.name}, {variant.title}", file=sys.stderr)
        rows.append(compare_variant(variant, seed, STEPS))
    return rows


def compare_variant(variant: Any, seed: int, steps: int) -> dict[str, Any]:
    """The row of one variant with weights drawn from `seed`."""
    from experiments.crosscheck_torch import ours, theirs

    weights = theirs.random_weights(theirs.build(variant), seed)
    both = ("float32", "float64")
    columns = row(
        (*(theirs.run(variant, weights, dtype, steps) for dtype in both),),
        (*(ours.run(variant, weights, dtype, steps) for dtype in both),),
        ours.round_trip_is_exact(variant, weights),
    )
    titles = {"library": variant.source.replace("_", "-"), "name": variant.name, "title": variant.title}
    return titles | columns | {"remark": variant.remark, "missed": missed(columns), "alpha": variant.alpha}


def _shown(row: dict[str, Any]) -> dict[str, str]:
    numbers = {name: f"{row[name]:.0e}" for name in TARGETS}
    numbers |= {name: f"{row[name]:.0e} ({row[f'own_{name}']:.0e})" for name in TARGETS if f"own_{name}" in row}
    if not row["alpha"]:
        numbers["auxiliary"] = numbers["auxiliary_64"] = "–"
    marks = [f"* {row['noise']:.0e}"] if row["noise"] > TARGETS["trained"] else []
    marks += ["†"] if row["trained"] > TARGETS["trained"] else []
    marks += [f"MISSED: {', '.join(row['missed'])}"] if row["missed"] else []
    remark = "; ".join([*marks, *([row["remark"]] if row["remark"] else [])])
    return row | numbers | {"round_trip": "exact" if row["round_trip"] else "NOT EXACT", "remark": remark}


if __name__ == "__main__":
    sys.exit(tyro.cli(main, prog="python -m experiments.crosscheck_torch"))
