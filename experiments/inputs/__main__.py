"""What richer inputs are worth: worlds in which time, tags or kinds of events matter, and public data.

python -m experiments.inputs worlds --runs runs/inputs
python -m experiments.inputs real --data DATA --runs runs/inputs
"""

import tyro

from experiments.inputs import real, worlds

if __name__ == "__main__":
    commands = {"worlds": worlds.main, "real": real.main}
    tyro.extras.subcommand_cli_from_dict(commands, prog="python -m experiments.inputs")
