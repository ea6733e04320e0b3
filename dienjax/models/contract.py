"""What a model must have, so that every command can train and use it; DIN and DIEN have it, and so may one of yours."""

from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Protocol

import jax
from flax import linen as nn

from dienjax.batch import Batch
from dienjax.models.embedding import Embedded, FeatureEmbedder
from dienjax.models.output import Output
from dienjax.schema import Schema

RESERVED = ("dim",)
"""Names in [model] that are not fields of the module."""


class Model(Protocol):
    """A click-through-rate model: a Linen module whose first field is the schema.

    `model(batch)` is `net(embed(batch))`. The two halves are called alone as well: a training step that reads only the
    table rows of its batch looks them up itself, and calls `net`.

    The fields after `schema` are what a config sets, in its section [model]: each has a default, a type of numbers,
    text, `Literal`s and tuples of these, and another name than "dim". They are checked against their annotations, so
    `Annotated[float, pydantic.Field(ge=0)]` has a bound. Parameters go into the collection "params", running statistics
    into "batch_stats", and dropout draws from the stream "dropout"; there are no others.

    Devices may share a batch: what looks across its rows must use `dienjax.models.parts`, as `MaskedBatchNorm` and
    `Dropout` of `dienjax.models.layers` do; then the model trains on them as on one. And on a CPU a training step sees
    a large batch in microbatches, unless the model has running statistics; one that looks across rows without them
    says `whole_batch = True`, a class attribute without an annotation.

    A model with an auxiliary loss has an attribute or field `auxiliary`, of any value. Its `Output.auxiliary` is then
    there whenever `e.negative_BTE` is, and `loss.alpha` weighs it. `loss.l2_tower` needs a module called `tower`.

    Attributes:
      schema: the fields and their tables.
      embedder: `FeatureEmbedder(schema)`, the only module with tables, under this very name.
    """

    schema: Schema
    embedder: FeatureEmbedder

    def __call__(self, batch: Batch, train: bool = False) -> Output:
        """The logits of a batch, `net(embed(batch), train)`."""
        ...

    def embed(self, batch: Batch) -> Embedded:
        """The batch's vectors, `embedder(batch)`."""
        ...

    def net(self, e: Embedded, train: bool = False) -> Output:
        """The logits [B, K] of embedded candidates; what is padded, by `e.mask_BT` and `e.mask_BK`, changes none."""
        ...


class Servable(Model, Protocol):
    """A model that can be exported: its `net` is `score(encode(e), e, train)`, and an auxiliary loss in training."""

    def encode(self, e: Embedded) -> jax.Array:
        """What no candidate changes, once per history: [B, T, H]. Only the history, its mask and the user are read."""
        ...

    def score(self, state_BTH: jax.Array, e: Embedded, train: bool = False) -> jax.Array:
        """The logits [B, K] of the candidates, given an encoded history; `e.history_BTE` is not read."""
        ...


def check_class(kind: Any, name: str) -> None:
    """Refuse a class that cannot be a `Model`.

    Raises:
      ValueError: what it lacks.
    """
    lacks = []
    if not (isinstance(kind, type) and issubclass(kind, nn.Module) and is_dataclass(kind)):
        lacks.append("to be a class derived from flax.linen.Module")
    else:
        own = [f for f in fields(kind) if f.name not in ("parent", "name")]
        if not own or own[0].name != "schema":
            lacks.append("a first field schema: Schema")
        lacks += [f"another name for the field {f.name!r}" for f in own if f.name in RESERVED]
        lacks += [f"a default, no list or dict, for its field {f.name!r}" for f in own[1:] if f.default is MISSING]
        lacks += [f"a method {m}" for m in ("embed", "net", "__call__") if not callable(getattr(kind, m, None))]
    if lacks:
        raise ValueError(f"model {name} lacks {', '.join(lacks)}; expected a dienjax.models.Model")


def check_model(model: Any, name: str, auxiliary: bool) -> None:
    """Trace a model once, without computing anything, and refuse one that does not return what it must.

    Args:
      auxiliary: whether it is trained with its auxiliary loss.

    Raises:
      TypeError, ValueError: what it returns or holds instead, or its own error.
    """
    B, T, K = 2, 3, 4
    batch = Batch.abstract(model.schema, B, T, K, negatives=auxiliary)
    variables = jax.eval_shape(model.init, jax.random.key(0), batch)
    tables = {name: tuple(table.shape) for name, table in variables["params"].get("embedder", {}).items()}
    expected = {table.name: (table.size, table.dim) for table in model.schema.tables}
    if tables != expected:
        raise ValueError(
            f"model {name} has the tables {tables} in params['embedder']; expected {expected}: "
            "self.embedder = FeatureEmbedder(self.schema)"
        )
    others = variables.keys() - {"params", "batch_stats"}
    if others:
        raise ValueError(f"model {name} has the collections {sorted(others)}; expected params and batch_stats alone")

    def logits(variables: Any, batch: Batch) -> Any:
        return model.apply(variables, model.apply(variables, batch, method="embed"), method="net")

    output = jax.eval_shape(logits, variables, batch)
    if not isinstance(output, Output):
        raise TypeError(f"net of model {name} returns a {type(output).__name__}; expected a dienjax.models.Output")
    if getattr(output.logit_BK, "shape", None) != (B, K):
        raise ValueError(
            f"net of model {name} returns logits of shape {getattr(output.logit_BK, 'shape', None)} for {B} histories "
            f"of {K} candidates; expected {(B, K)}"
        )
    if auxiliary and output.auxiliary is None:
        raise ValueError(
            f"net of model {name} returns no auxiliary logits, though it has an attribute `auxiliary` and got "
            "negatives; expected Output.auxiliary, or loss.alpha=0"
        )
