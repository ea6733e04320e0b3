"""How fast a device trains DIEN: samples a second by shape and precision, and where the time goes."""

import glob
import itertools
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from unittest.mock import patch

PRODUCT = re.compile(r"dot|gemm|conv|cublas|cutlass|xmma|matmul", re.IGNORECASE)
"""In the name of an operation that multiplies matrices."""

SECONDS, LEAST = 5.0, 5
"""A case is measured for so long, and at least so many times."""


@dataclass(frozen=True)
class Case:
    """A shape and a precision: histories a batch, history slots, embedding dim of each of two tables, candidates.

    `unroll` is how many steps of a recurrence one iteration of its loop takes. `published` is a public number of
    samples a second for the shape, and where it is from.
    """

    batch: int
    length: int
    dtype: str = "float32"
    dim: int = 18
    candidates: int = 1
    unroll: int = 1
    published: tuple[str, int] | None = None

    def __str__(self) -> str:
        unrolled = f", {self.unroll} steps an iteration" if self.unroll > 1 else ""
        return f"{self.batch} × {self.length}, dim {self.dim}, {self.dtype}{unrolled}"


FUXICTR = Case(1024, 100, dim=64, published=("FuxiCTR's DIEN, V100", 6_604))
SIM = Case(131_072, 10, dim=16, published=("the DIEN part of NVIDIA's SIM, A100", 462_000))


def cases(quick: bool) -> Iterator[Case]:
    """The shapes that are measured; with `quick` one small one in three forms."""
    dtypes = ("float32", "bfloat16")
    if quick:
        yield from (Case(64, 5, dtype) for dtype in dtypes)
        yield Case(64, 5, unroll=5)
        return
    for anchor in (FUXICTR, SIM):
        yield from (replace(anchor, dtype=dtype) for dtype in dtypes)
        yield from (replace(anchor, unroll=unroll) for unroll in (2, 5, 10))
    for batch, length, dtype in itertools.product((1024, 8192, 32_768, 131_072), (10, 50, 100), dtypes):
        yield Case(batch, length, dtype)


def measured(case: Case) -> dict[str, Any]:
    """Samples a second, the time of a step in ms and the share of it outside of products; or that it does not fit."""
    import jax
    from flax import linen as nn

    from dienjax.models import recurrent

    try:
        with patch.object(recurrent.nn, "scan", partial(nn.scan, unroll=case.unroll)):
            call, compiled = _training(case)
        median, since = [], time.perf_counter()
        while time.perf_counter() - since < SECONDS or len(median) < LEAST:
            started = time.perf_counter()
            call()
            median.append(time.perf_counter() - started)
        step = statistics.median(median)
        samples = case.batch * case.candidates / step
        found = {
            "samples/s": round(samples),
            "ms": step * 1e3,
            "compile_s": compiled,
            "outside products": _outside(call),
        }
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return {"does not fit": str(error).partition("\n")[0]}
    if case.published is None:
        return found
    source, number = case.published
    return found | {"published": f"{number:,} samples/s ({source})", "ratio": samples / number}


def _training(case: Case) -> tuple[Callable[[], None], float]:
    """A lazy training step with Adam on batches that are on the device, and the seconds that its first call took."""
    import jax
    import numpy as np

    from dienjax import ModelConfig
    from dienjax.training.lazy_rows import make_lazy_train_step, renumber
    from experiments.benchmark.ours import OPTIONS, batch, config, schema, training
    from experiments.benchmark.setting import SIZES, drawn

    options = OPTIONS | {"state": 2 * case.dim, "dtype": case.dtype}
    model = ModelConfig("DIEN", case.dim, options).build(schema(SIZES))
    lengths = np.full(case.batch, case.length)
    made = [
        jax.device_put(renumber(batch(drawn(SIZES, lengths, case.length, case.candidates, np.random.default_rng(seed))),
                                model.schema))
        for seed in range(2)
    ]  # fmt: skip
    call, started = training(model, config().loss, made, make_lazy_train_step), time.perf_counter()
    call()
    return call, time.perf_counter() - started


def _outside(call: Callable[[], None]) -> float | None:
    """The share of the device's time in which no matrix product ran, from a profile; None where there is no profile."""
    import jax

    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            call()
        files = glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)
        planes = list(jax.profiler.ProfileData.from_file(files[0]).planes) if files else []
        busy = products = 0.0
        for plane in [p for p in planes if p.name.startswith("/device:")]:
            for line in plane.lines:
                if not re.search(r"XLA Ops|Stream", line.name):
                    continue
                for event in line.events:
                    busy += event.duration_ns
                    products += event.duration_ns if PRODUCT.search(event.name) else 0
    return 1 - products / busy if busy else None
