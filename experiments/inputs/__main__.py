"""What richer inputs are worth: worlds in which time, tags or kinds of events matter.

python -m experiments.inputs worlds --runs runs/inputs
"""

import tyro

from experiments.inputs import worlds

if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"worlds": worlds.main}, prog="python -m experiments.inputs")
