"""dienjax: DIN and DIEN click-through-rate models in JAX/Flax, from a log to a served model.

Letters of shapes, which stand at the end of a name (`key_BTE` has the axes B, T, E):
B batch, T history slots, S = T − 1 auxiliary steps, K candidates, E width of all behaviours side by side, H interest
state, A attention hidden, U users or user features, C context features, V table rows, R rows that a batch reads, F
features, N samples, E events (of a store), Q histogram bins. Masks are bool, True = real.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dienjax.batch import Batch
    from dienjax.data.arrays import PaddedArrays
    from dienjax.data.loader import Loader
    from dienjax.data.split import StoreSplit
    from dienjax.data.store import Store
    from dienjax.models import DIEN, DIN
    from dienjax.preparation.prepare import prepare
    from dienjax.report.write import write_report
    from dienjax.schema import Behaviour, Channel, Dense, Schema, Sparse, Table
    from dienjax.training.compilation import cache_compilations
    from dienjax.training.config import Config, DataConfig, FitConfig, ModelConfig
    from dienjax.training.evaluation import evaluate
    from dienjax.training.explanation import explain
    from dienjax.training.loop import fit, fit_store
    from dienjax.training.losses import LossConfig
    from dienjax.training.optimizers import OptimizerConfig
    from dienjax.training.prediction import predict
    from dienjax.training.run import Run
    from dienjax.training.seeds import fit_seeds

    __version__: str

_HOMES = {
    "batch": ["Batch"],
    "data.arrays": ["PaddedArrays"],
    "data.loader": ["Loader"],
    "data.split": ["StoreSplit"],
    "data.store": ["Store"],
    "models": ["DIEN", "DIN"],
    "preparation.prepare": ["prepare"],
    "report.write": ["write_report"],
    "schema": ["Behaviour", "Channel", "Dense", "Schema", "Sparse", "Table"],
    "training.compilation": ["cache_compilations"],
    "training.config": ["Config", "DataConfig", "FitConfig", "ModelConfig"],
    "training.evaluation": ["evaluate"],
    "training.explanation": ["explain"],
    "training.loop": ["fit", "fit_store"],
    "training.losses": ["LossConfig"],
    "training.optimizers": ["OptimizerConfig"],
    "training.prediction": ["predict"],
    "training.run": ["Run"],
    "training.seeds": ["fit_seeds"],
}
_HOME = {name: f"dienjax.{module}" for module, names in _HOMES.items() for name in names}

__all__ = [
    "DIEN",
    "DIN",
    "Batch",
    "Behaviour",
    "Channel",
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
    "cache_compilations",
    "evaluate",
    "explain",
    "fit",
    "fit_seeds",
    "fit_store",
    "predict",
    "prepare",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first used: preparing a log or serving a model never loads JAX."""
    value: Any
    if name == "__version__":
        value = _version()
    elif name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module 'dienjax' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("dienjax")
    except PackageNotFoundError:
        return "unknown (not installed)"
