"""Compile the training and the scoring step for accelerators that are not here, and say what they need and move.

    pip install -e '.[tpu]'
    python -m experiments.compile_for dien --store runs/demo/store --tpu v5e:4x4 --rows item=1e9 --set model.dim=32

Nothing is allocated: only shapes are compiled. It fails (exit code 1) where a collective stands inside a loop, or has
the size of a table. For a GPU, XLA's compiler needs one: `--cuda 8` stops before it, at the program for eight.
"""

import os
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional, UseAppendAction, arg

Texts = UseAppendAction[tuple[str, ...]]


@dataclass(frozen=True)
class Report:
    """What one compiled step needs on each device, in bytes, and what crosses devices."""

    name: str
    arguments: int
    temporary: int
    flops: float
    accessed: float
    crossing: Counter
    wrong: tuple[str, ...]

    def __str__(self) -> str:
        crossed = "; ".join(f"{n} {kind} of {_unit(size)}" for (kind, size), n in sorted(self.crossing.items()))
        return (
            f"{self.name}: {_unit(self.arguments)} of arguments and {_unit(self.temporary)} of temporaries a device, "
            f"{self.flops / 1e9:.3g} GFLOP, {_unit(self.accessed)} accessed\n  crossing devices: {crossed or 'nothing'}"
            + "".join(f"\n  WRONG: {line}" for line in self.wrong)
        )


def compile_for(
    config: Positional[str],
    store: Path,
    tpu: str = "",
    cuda: int = 0,
    tables: str = "rows",
    batch_size: int = 4096,
    length: int = 50,
    candidates: int = 2,
    rows: Annotated[Texts, arg(metavar="TABLE=ROWS")] = (),
    overrides: Annotated[Texts, arg(name="set", metavar="SECTION.KEY=VALUE")] = (),
) -> None:
    """Compile a config's training and scoring step for a TPU topology, or lower them for CUDA.

    Args:
      config: TOML file, or the name of one that is shipped.
      store: event store whose schema is compiled.
      tpu: topology, such as v5e:2x2 or v5e:4x4.
      cuda: number of GPUs.
      tables: replicated, or rows: divided over the devices.
      batch_size: histories a batch, over all devices.
      length: history slots.
      candidates: candidates of a history.
      rows: another number of rows for a table, such as item=1e9; may be given again.
      overrides: one changed setting; may be given again.
    """
    os.environ["JAX_PLATFORMS"] = "cpu"
    if bool(tpu) == bool(cuda):
        raise ValueError("compile_for: give --tpu TOPOLOGY or --cuda NUMBER, one of them")
    if cuda:
        os.environ["JAX_NUM_CPU_DEVICES"] = str(cuda)

    import jax

    from dienjax import Config, Store
    from dienjax.training.layout import Layout

    devices = tpu_devices(tpu) if tpu else jax.devices()
    settings = Config.load(config, overrides)
    schema = with_rows(settings.model.build(Store.open(store).schema).schema, rows)
    layout = Layout(schema, tuple(devices), tables)  # type: ignore[arg-type]
    model = settings.model.build(schema)
    print(f"{len(devices)} × {tpu or 'CUDA'}, tables {tables}, batch {batch_size} × {length} × {candidates}")
    for table in schema.tables:
        how = "by rows" if table.name in layout.spread else "on each device"
        print(f"  table {table.name}: {table.size:,} × {table.dim}, {how}")
    failed = False
    for name, step, arguments in steps(settings, model, layout, batch_size, length, candidates):
        traced = step.trace(*arguments)
        if cuda:
            print(lowered(name, traced.lower(lowering_platforms=("cuda",)).as_text()))
            continue
        report = reported(name, traced.lower(lowering_platforms=("tpu",)).compile(), layout, arguments[1])
        print(report)
        failed = failed or bool(report.wrong)
    sys.exit(failed)


def tpu_devices(topology: str) -> list[Any]:
    """The devices of a TPU topology that is not here.

    Raises:
      ImportError: libtpu is not installed.
      ValueError: it knows no such topology.
    """
    # It must not ask a metadata server what machine this is.
    os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"}
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
    try:
        import libtpu  # noqa: F401
    except ImportError as error:
        raise ImportError("compile_for --tpu needs libtpu: pip install 'dienjax[tpu]'") from error
    from jax.experimental import topologies

    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices)
    except Exception as error:  # of whatever type libtpu's plug-in raises
        reason = str(error).partition("\n")[0]
        raise ValueError(f"--tpu {topology!r}: no such topology ({reason}); expected one such as v5e:2x2") from error


def with_rows(schema: Any, rows: tuple[str, ...]) -> Any:
    """The schema with other numbers of rows, from texts such as item=1e9."""
    sizes = {name: int(float(number)) for name, _, number in (text.partition("=") for text in rows)}
    known = [table.name for table in schema.tables]
    for name in sizes:
        if name not in known:
            raise ValueError(f"--rows {name}: no such table; expected one of {', '.join(known)}")
    return replace(schema, tables=tuple(replace(t, size=sizes.get(t.name, t.size)) for t in schema.tables))


def steps(config: Any, model: Any, layout: Any, B: int, T: int, K: int) -> list[tuple[str, Any, tuple]]:
    """The name, the jitted step and the abstract arguments of the training and of the scoring step."""
    import jax
    import numpy as np
    from jax.sharding import NamedSharding, PartitionSpec

    from dienjax.batch import Batch
    from dienjax.training.divided import divide, make_divided_eval_step, make_divided_train_step
    from dienjax.training.layout import AXIS
    from dienjax.training.optimizers import make_optimizer
    from dienjax.training.step import init_state

    if B % len(layout.devices):
        raise ValueError(f"--batch-size {B}: {len(layout.devices)} devices do not divide it; give a multiple")
    tx = make_optimizer(config.optimizer, 1, 1)
    small = Batch.abstract(layout.schema, 1, 2, 1, negatives=config.auxiliary)
    state = layout.stored(jax.eval_shape(lambda: init_state(model, tx, small, jax.random.key(0))))
    divided, all_devices = (NamedSharding(layout.mesh, PartitionSpec(*axes)) for axes in ((AXIS,), ()))

    def rows(negatives: bool) -> Any:
        """The shapes of a divided batch, from an empty one."""
        batch = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), Batch.abstract(layout.schema, B, T, K, negatives))
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=divided), divide(batch, layout))

    key = jax.eval_shape(lambda: jax.random.key(0)).update(sharding=all_devices)
    lazy = config.optimizer.rows == "lazy"
    train = make_divided_train_step(model, tx, config.loss, config.data.unknown, layout, lazy)
    return [
        ("training step", train, (state, rows(config.auxiliary), key)),
        ("scoring step", make_divided_eval_step(model, layout), (state.variables, rows(False))),
    ]


def reported(name: str, compiled: Any, layout: Any, rows: Any) -> Report:
    """What a compiled step needs, and what is wrong with it."""
    from experiments.collectives import collectives

    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    found = collectives(compiled.as_text())
    held, dims = layout.rows_here(), {t.name: t.dim for t in layout.schema.tables}
    lists = max(rows.row_R[name].shape[0] * dims[name] * 4 for name in held)
    shards = [held[name] * dims[name] * 4 for name in layout.spread]
    too_large = min((size for size in shards if size > 2 * lists), default=sys.maxsize)
    wrong = [f"inside a loop: {c.line}" for c in found if c.in_loop]
    wrong += [f"as large as a table: {c.line}" for c in found if c.bytes >= too_large]
    return Report(
        name, memory.argument_size_in_bytes, memory.temp_size_in_bytes, cost["flops"], cost["bytes accessed"],
        Counter((c.kind, c.bytes) for c in found), tuple(wrong),
    )  # fmt: skip


def lowered(name: str, program: str) -> str:
    """How large a program is that was lowered but not compiled, and its collectives."""
    kinds = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "collective_permute")
    counts = {kind: program.count(f"stablehlo.{kind}") for kind in kinds}
    crossing = ", ".join(f"{n} {kind}" for kind, n in counts.items() if n) or "nothing"
    return f"{name}: {program.count(chr(10)):,} lines of StableHLO; crossing devices: {crossing}"


def _unit(size: float) -> str:
    """Bytes in a unit that is easy to read."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


if __name__ == "__main__":
    try:
        tyro.cli(compile_for, config=(tyro.conf.FlagCreatePairsOff,))
    except (ValueError, ImportError, OSError) as error:
        sys.exit(f"compile_for: {error}")
