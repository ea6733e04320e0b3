"""A run's model, or a config's, as a table and a diagram."""

from pathlib import Path

from dienjax.data.store import Store
from dienjax.report.diagram import diagram
from dienjax.report.shapes import table
from dienjax.schema import Behaviour, Schema, Table
from dienjax.storage.files import write_text
from dienjax.training.config import Config
from dienjax.training.run import Run

EXAMPLE = Schema((Table("item", 10_000), Table("category", 100)), (Behaviour("item"), Behaviour("category")))
"""What a config is described with where no data is named."""


def describe_file(target: str | Path, store: str | Path | None = None, svg: str | Path | None = None) -> str:
    """The table of a run folder's model or of a TOML config's; the diagram is written to `svg`.

    A config's schema is the store's, or `EXAMPLE`. `svg` is by default model.svg in the run folder, or the config's
    name with .svg in the current folder.
    """
    target, given = Path(target), None if store is None else Store.open(store).schema
    if target.is_dir():
        run = Run.open(target)
        if given is not None:
            run.check_schema(given, f"the store {store}")
        config, schema, model = run.config, run.schema, run.model
    else:
        config = Config.load(target)
        model = config.model.build(given or EXAMPLE)
        schema = model.schema
    file = Path(svg) if svg is not None else target / "model.svg" if target.is_dir() else Path(f"{target.stem}.svg")
    write_text(file, diagram(model, schema, config.loss))
    example = "" if target.is_dir() or given else "\n\nThe schema is an example; name an event store for the real one."
    return f"{table(model, schema, config.loss)}{example}\n\ndiagram: {file}"
