"""dienjax: DIN and DIEN click-through-rate models in JAX/Flax, from a log to a served model.

Letters of shapes, which stand at the end of a name (`key_BTE` has the axes B, T, E):
B batch, T history slots, S = T − 1 auxiliary steps, K candidates, E width of all behaviours side by side, H interest
state, A attention hidden, U users or user features, C context features, V table rows, F features, N samples, E events
(of a store), Q histogram bins. Masks are bool, True = real.
"""

from dienjax.batch import Batch
from dienjax.config import Config, DataConfig, FitConfig, ModelConfig
from dienjax.data.arrays import PaddedArrays
from dienjax.data.loader import Loader, StoreSplit
from dienjax.data.prepare import prepare
from dienjax.data.store import Store
from dienjax.evaluate import evaluate
from dienjax.fit import fit, fit_store
from dienjax.losses import LossConfig
from dienjax.models import DIEN, DIN
from dienjax.optimizers import OptimizerConfig
from dienjax.predict import predict
from dienjax.run import Run
from dienjax.schema import Behaviour, Dense, Schema, Sparse, Table

__all__ = [
    "DIEN",
    "DIN",
    "Batch",
    "Behaviour",
    "Config",
    "DataConfig",
    "Dense",
    "FitConfig",
    "Loader",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PaddedArrays",
    "Run",
    "Schema",
    "Sparse",
    "Store",
    "StoreSplit",
    "Table",
    "evaluate",
    "fit",
    "fit_store",
    "predict",
    "prepare",
]
