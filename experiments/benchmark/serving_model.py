"""What the serving benchmarks serve: the benchmarks' DIEN with random weights, whose raw values are text."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dienjax.serving.folder import GRAPHS
from experiments.benchmark.setting import SIZES

TOLERANCE = 1e-5
SERVING = GRAPHS
"""The graphs of a request to `Ranker`, one after the other."""
STATES = ("interest_states", "history_mask")
"""What the first graph passes to the second."""
DEFAULT = 1
"""The threads of a call to `Ranker` by default."""
PACKAGES = ("dienjax", "jax", "numpy", "jax2onnx", "onnx", "onnxruntime", "torch", "deepctr-torch", "torch-rechub")


def text(name: str, id: int) -> str:
    """The raw value of a field that has this id."""
    return f"{name} {id}"


def write_run(out: str, sizes: dict[str, int]) -> None:
    """Write the run folder of an untrained model to `out`, with tables of these sizes and their vocabularies."""
    import pandas as pd

    from dienjax import Run
    from dienjax.schema import FIRST_ID
    from dienjax.storage.manifest import manifest_of
    from dienjax.training import checkpoint
    from experiments.benchmark.ours import config, schema

    def write_vocabularies(run: Run) -> None:
        (run.path / "vocab").mkdir()
        with manifest_of(run.path):
            for name, size in sizes.items():
                ids = range(FIRST_ID, size)
                values = pd.DataFrame({"id": ids, "value": [text(name, id) for id in ids], "count": 1})
                values.to_parquet(run.path / "vocab" / f"{name}.parquet", index=False)

    run = Run.create(out, config(), schema(sizes), complete=write_vocabularies)
    checkpoint.save(run.path, "last", run.initial_state(run.optimizer()), {})


def export(run: str, out: str, **options: Any) -> dict[str, float]:
    """Seconds of `export_run` into `out`, and the megabytes of that folder and of its graphs with their weights."""
    from dienjax.export import export_run

    start = time.perf_counter()
    export_run(run, out, **options)
    seconds = time.perf_counter() - start
    files = [file for file in Path(out).rglob("*") if file.is_file()]
    graphs = [file for file in files if file.suffix in (".onnx", ".data")]
    folder_mb, graphs_mb = (sum(file.stat().st_size for file in some) / 1e6 for some in (files, graphs))
    return {"seconds": seconds, "folder_mb": folder_mb, "graphs_mb": graphs_mb}


def arrays(columns: dict[str, Any]) -> dict[str, Any]:
    """The columns of one user as the graphs take them: without negatives and without padding."""
    import numpy as np

    length = int(columns["length"][0])
    histories = {name: ids[:, :length] for name, ids in columns.items() if name.startswith("hist_")}
    of_candidates = {name.removeprefix("hist_"): columns[name.removeprefix("hist_")] for name in histories}
    return {name: ids.astype(np.int64) for name, ids in (histories | of_candidates).items()}


def by_jax(run: str) -> Callable[[Mapping[str, Any]], Any]:
    """A function from columns to the probabilities [B, K] that the run's model gives them."""
    import jax

    from dienjax import Run
    from dienjax.training.step import make_eval_step
    from experiments.benchmark.ours import batch

    opened = Run.open(run)
    variables, step = opened.variables(), make_eval_step(opened.model)
    return lambda columns: jax.device_get(jax.nn.sigmoid(step(variables, batch(columns, negatives=False))))


def through(folder: str, graphs: Sequence[str], threads: int) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """A function from arrays by name to all of them and the outputs of these graphs, run one after the other.

    Args:
      threads: threads of one call of the candidate scorer, as in `Ranker`.
    """
    files = [Path(folder) / graph for graph in graphs]
    calls = [_scorer(file, threads) if file.name == SERVING[1] else _graph(file) for file in files]

    def call(arrays: Mapping[str, Any]) -> dict[str, Any]:
        arrays = dict(arrays)
        for one in calls:
            arrays |= one(arrays)
        return arrays

    return call


def _graph(file: Path) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """A graph as a function."""
    from dienjax.serving.session import open_session

    session = open_session(file)
    inputs, outputs = ([value.name for value in values] for values in (session.get_inputs(), session.get_outputs()))
    return lambda arrays: dict(zip(outputs, session.run(None, {name: arrays[name] for name in inputs}), strict=True))


def _scorer(file: Path, threads: int) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """The candidate scorer as a function of the candidates and the encoder's output."""
    from dienjax.serving.scorer import Scorer

    scorer = Scorer(file, threads)

    def call(arrays: Mapping[str, Any]) -> dict[str, Any]:
        states, candidates = ({name: arrays[name] for name in names} for names in (STATES, SIZES))
        return {"probability": scorer(states, candidates)}

    return call


def compare(what: str, got_NK: Any, want_NK: Any) -> None:
    """Check the probabilities of N requests against those that they should have.

    Raises:
      ValueError: they differ by more than TOLERANCE, or are not numbers.
    """
    import numpy as np

    difference_N = np.abs(got_NK - want_NK).max(axis=1)
    wrong_N = np.flatnonzero(~(difference_N <= TOLERANCE))
    if len(wrong_N):
        raise ValueError(
            f"{what}: {len(wrong_N)} of {len(difference_N)} answers are wrong; that of request {wrong_N[0]} is "
            f"{difference_N[wrong_N[0]]:.3g} from JAX's, expected at most {TOLERANCE:g}"
        )
