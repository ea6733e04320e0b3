"""How much of the processor's arithmetic a training step uses: its matrix products beside one large product."""

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Annotated, Any

from experiments.benchmark import measure, report
from experiments.benchmark.goals import Goal, checked
from experiments.benchmark.setting import ATTENTION, DIM, PACKAGES, SIZES, STATE, TOWER

AUXILIARY = (100, 50)
COLUMNS = {
    "T": "T",
    "what": "what",
    "gflop": "GFLOP",
    "counted": "traced, % of them",
    "ms": "ms",
    "gflops": "GFLOP/s",
    "share": "of the large product, %",
}

GOALS = (Goal({"what": "training step", "T": 50}, "share", 35, least=True),)


def main(
    lengths: Annotated[tuple[int, ...], ...] = (8, 16, 50),
    histories: int = 512,
    product: int = 4096,
    seconds: float = 3.0,
    results: Path = measure.ROOT / "experiments/benchmark/results",
) -> None:
    """Measure the floating-point operations per second of a training step, over those of one large float32 product.

    Counted are the multiply-adds, two operations each, of all matrix products of a forward pass, times 3: each has two
    products in the backward pass. Not counted: look-ups, elementwise operations, the optimizer, and what the gradient
    computes a second time. "traced" counts the products of the forward pass in JAX's own trace instead.

    Args:
      lengths: history lengths, all histories full.
      histories: histories per batch, two candidates each.
      product: rows and columns of the large product.
      seconds: duration of each measurement.
      results: folder for arithmetic.json and arithmetic.png.
    """
    about = measure.machine(*PACKAGES)
    given = {"lengths": lengths, "histories": histories, "product": product, "seconds": seconds}
    measured = measure.in_child("experiments.benchmark.arithmetic:ours", **given).answer
    best = 2 * product**3 / min(one["product_ms"] for one in measured) / 1e6
    large = {"what": f"product of {product:,}", "gflop": 2 * product**3 / 1e9, "gflops": best, "share": 100.0}
    rows = [large | {"ms": min(one["product_ms"] for one in measured)}]
    for T, one in zip(lengths, measured, strict=True):
        forward = sum(multiply_adds(histories, T).values())
        gflop = 6 * forward / 1e9
        row = {"T": T, "what": "training step", "gflop": gflop, "counted": 100 * one["traced"] / forward}
        rows.append(row | {"ms": one["ms"], "gflops": gflop / one["ms"] * 1e3, "share": gflop / one["ms"] * 1e5 / best})
    rows = [{n: round(v, 2) if isinstance(v, float) else v for n, v in row.items()} for row in rows]
    facts = {
        "machine": about,
        "histories": histories,
        "multiply_adds": {T: multiply_adds(histories, T) for T in lengths},
    }
    panel = report.Panel("GFLOP/s", report.lines(rows, "T", "gflops"))
    figure = report.Figure(f"{histories} histories with two candidates", "T", [panel])
    report.publish(results / "arithmetic", facts, rows, COLUMNS, checked(GOALS, rows, COLUMNS), [], figure)


def multiply_adds(B: int, T: int, K: int = 2) -> dict[str, int]:
    """The multiply-adds of the matrix products of a DIEN's forward pass in training, by module.

    What candidates share is counted once: the first layer of the attention is q·Wq once per candidate, k·Wk once per
    behaviour and (q⊙k)·Wp once per pair. So is the state's part of the auxiliary MLP for a behaviour and its negative,
    which JAX traces twice. Padded slots count, as they are computed.
    """
    E, H = len(SIZES) * DIM, STATE

    def layers(*widths: int) -> int:
        return sum(a * b for a, b in zip(widths, (*widths[1:], 1), strict=True))

    return {
        "extractor": B * T * (E + H) * 3 * H,
        "attention": ATTENTION[0] * (B * K * H + B * T * H + B * K * T * H) + B * K * T * layers(*ATTENTION),
        "evolution": B * T * H * 3 * H + B * K * T * H * 3 * H,
        "auxiliary": B * (T - 1) * (H * AUXILIARY[0] + 2 * (E * AUXILIARY[0] + layers(*AUXILIARY))),
        "tower": B * K * layers(H + E, *TOWER),
    }


def traced(jaxpr: Any) -> int:
    """The multiply-adds of all matrix products in a JAX trace, those inside a scan for each of its steps."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            total += prod(equation.outvars[0].aval.shape) * prod(equation.invars[0].aval.shape[i] for i in contracted)
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        for value in equation.params.values():
            for inner in value if isinstance(value, Sequence) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                total += times * traced(inner) if hasattr(inner, "eqns") else 0
    return total


def traced_forward(B: int, T: int) -> int:
    """The multiply-adds of our model's forward pass in training, as JAX traces it."""
    import jax

    from experiments.benchmark.ours import batch, config, initial, schema
    from experiments.benchmark.setting import full

    model = config().model.build(schema(SIZES))
    variables = jax.eval_shape(lambda: initial(model)[1].variables)
    forward = jax.make_jaxpr(lambda v, b: model.apply(v, b, train=True))(variables, batch(full(B, T)))
    return traced(forward.jaxpr)


def ours(lengths: list[int], histories: int, product: int, seconds: float) -> list[dict[str, float]]:
    """Milliseconds of a training step at each length, and of a large product just before it."""
    import jax
    import jax.numpy as jnp

    from experiments.benchmark.ours import batch, config, schema, training
    from experiments.benchmark.setting import full

    of, answers = config(), []
    model = of.model.build(schema(SIZES))
    square = jax.random.normal(jax.random.key(0), (product, product), jnp.float32)
    multiply = jax.jit(jnp.matmul)
    for T in lengths:
        product_ms = measure.median_ms(lambda: multiply(square, square).block_until_ready(), seconds, 3)
        ms = measure.median_ms(training(model, of.loss, [batch(full(histories, T))]), seconds)
        answers.append({"product_ms": product_ms, "ms": ms, "traced": traced_forward(histories, T)})
    return answers
