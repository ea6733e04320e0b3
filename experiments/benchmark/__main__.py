"""Benchmarks of dienjax beside other libraries, each measurement in a fresh interpreter.

    python -m experiments.benchmark prepare

Tables go to the terminal, JSON and pictures to experiments/benchmark/results. A benchmark is a file here with a `main`.
"""

import tyro

from experiments.benchmark import prepare

if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"prepare": prepare.main}, prog="python -m experiments.benchmark")
