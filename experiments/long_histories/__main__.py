"""Histories of a thousand events: what a step costs, and what a longer memory is worth.

python -m experiments.long_histories cost
python -m experiments.long_histories auc --runs runs/long
"""

import tyro

from experiments.long_histories import auc, cost

if __name__ == "__main__":
    commands = {"cost": cost.main, "auc": auc.main}
    tyro.extras.subcommand_cli_from_dict(commands, prog="python -m experiments.long_histories")
