"""What a GPU or a TPU makes of dienjax: first whether its numbers are right, then how fast it is.

    pip install -e '.[dev,cuda]'      # or tpu
    python -m experiments.accelerator --out results.json

It checks a training step against the CPU, a resumed run against one in one go, and an export against JAX; then it
measures samples a second over batch sizes, history lengths and precisions, the share of the time that is spent outside
of matrix products, and two shapes with public numbers. A check that fails ends it with exit code 1.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from experiments.accelerator import checks, speed


def main(out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("accelerator.json"), quick: bool = False) -> None:
    """Check and measure on JAX's default device, and write everything to a JSON file as it is found.

    Args:
      out: the file.
      quick: small shapes alone, to see that it works.
    """
    import jax

    device = jax.devices()[0]
    found: dict[str, Any] = {
        "device": device.device_kind, "platform": device.platform, "jax": jax.__version__, "checks": {}, "speeds": [],
    }  # fmt: skip
    print(f"{device.device_kind} ({device.platform}), jax {jax.__version__}")

    def keep(section: str, name: str, value: Any) -> None:
        if section == "checks":
            found[section][name] = value
        else:
            found[section].append({"case": name, **value})
        print(f"{section[:-1]}  {name}: {value}", flush=True)
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    for name, check in checks.CHECKS.items():
        keep("checks", name, check())
    for case in speed.cases(quick):
        keep("speeds", str(case), speed.measured(case))
    wrong = [name for name, result in found["checks"].items() if not result["right"]]
    if wrong:
        sys.exit(f"wrong: {', '.join(wrong)}")


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,))
