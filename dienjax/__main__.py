"""`dienjax` and `python -m dienjax`: the version, or the command line."""

import sys

import dienjax


def main() -> None:
    """Print the version or run a command; exit with 2 and one sentence where the command line cannot be imported."""
    if sys.argv[1:] == ["--version"]:
        print(f"dienjax {dienjax.__version__}")
        return
    try:
        from dienjax import cli
    except ModuleNotFoundError as error:
        needs = f"the command line needs {error.name}, which is not installed: pip install {error.name}"
        print(f"dienjax: {needs}", file=sys.stderr)
        sys.exit(2)
    cli.main()


if __name__ == "__main__":
    main()
