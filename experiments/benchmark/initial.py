"""The parameters with which a library's DIEN begins when they are drawn as dienjax draws its own."""

from dataclasses import replace

import numpy as np

from dienjax import Dense
from dienjax.interop import model_config, to_state_dict
from dienjax.schema import PADDING
from experiments.benchmark import ours, theirs
from experiments.benchmark.setting import T


def write(out: str, library: theirs.Library, sizes: dict[str, int], seed: int) -> None:
    """Write a new model's parameters to `out`, as .npz by the keys of the library's state_dict.

    They are those of our DIEN in the variant that computes what the library's does: tables N(0, 1/√dim), glorot
    kernels, orthogonal recurrent ones, biases of 0. The padding row is 0, as torch-rechub's, which attends to padding.
    """
    source = library.replace("-", "_")
    schema = ours.schema(sizes)
    if library == "torch-rechub":
        schema = replace(schema, dense=(Dense("nothing"),))
    columns = schema.field_names
    built = theirs.build(library, sizes, T).state_dict()
    model = model_config(source, "DIEN", schema, built, columns, kind="AUGRU").build(schema)
    variables = ours.initial(model, seed)[1].variables
    tables = variables["params"]["embedder"]
    zeroed = {name: table.at[PADDING].set(0) for name, table in tables.items()}
    params = variables["params"] | {"embedder": zeroed}
    np.savez(out, **to_state_dict(source, model, variables | {"params": params}, columns))
