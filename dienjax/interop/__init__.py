"""Weights of deepctr-torch and torch-rechub here, with the same probabilities, and back; torch itself is not needed."""

from dienjax.interop.convert import from_state_dict, model_config, to_state_dict
from dienjax.interop.files import read_weights, write_weights
from dienjax.interop.runs import export_run, import_run

__all__ = [
    "export_run",
    "from_state_dict",
    "import_run",
    "model_config",
    "read_weights",
    "to_state_dict",
    "write_weights",
]
