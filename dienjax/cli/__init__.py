"""The command line: each command is a function, its arguments are the function's, its help is the docstring."""

from dienjax.cli.main import COMMANDS, main

__all__ = ["COMMANDS", "main"]
