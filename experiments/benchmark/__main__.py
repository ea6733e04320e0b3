"""Benchmarks of dienjax beside other libraries, each measurement in a fresh interpreter.

    python -m experiments.benchmark prepare
    python -m experiments.benchmark all
    python -m experiments.benchmark against CHECKOUT

Tables go to the terminal, JSON and pictures to experiments/benchmark/results. A benchmark is a file here with a `main`.
"""

from pathlib import Path

import tyro

from experiments.benchmark import (
    against,
    arithmetic,
    candidates,
    length,
    loader,
    measure,
    prepare,
    serving,
    train,
    vocabulary,
)


def everything(
    store: Path | None = None, quick: bool = False, results: Path = measure.ROOT / "experiments/benchmark/results"
) -> None:
    """Run all benchmarks in turn, with their defaults.

    Args:
      store: prepared store for training, candidates and serving; a generated log if not given.
      quick: small sizes and one round, to see that everything runs.
      results: folder for JSON and pictures.
    """
    small = {"rounds": 1, "seconds": 0.1}
    to = {"results": results}
    loader.main(**to, **({"events": 100_000} | small if quick else {}))
    arithmetic.main(**to, **({"histories": 16, "product": 512, "seconds": 0.1} if quick else {}))
    length.main(**to, **({"lengths": (8, 16), "histories": 8} | small if quick else {}))
    candidates.main(store, **to, **({"K": (1, 10), "users": 5, "events": 10_000} | small if quick else {}))
    few = {"K": (1, 10), "users": 5, "events": 10_000, "clients": (1, 2), "requests": 200, "rows": (10**4,)}
    serving.main(store, **to, **(few | small if quick else {}))
    vocabulary.main(**to, **({"rows": (10**4, 10**5), "histories": 16} | small if quick else {}))
    train.main(store, **to, **({"events": 10_000, "samples": 256, "epochs": 1} if quick else {}))
    prepare.main(**to, first_batch=True, **({"events": (10_000,), "repeats": 1} if quick else {}))


if __name__ == "__main__":
    modules = (prepare, train, vocabulary, length, candidates, serving, arithmetic, loader, against)
    commands = {module.__name__.rpartition(".")[2]: module.main for module in modules} | {"all": everything}
    tyro.extras.subcommand_cli_from_dict(commands, prog="python -m experiments.benchmark")
