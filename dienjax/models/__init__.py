"""DIN and DIEN, the layers that they are made of, and the contract of a model."""

from dienjax.models.by_name import MODELS
from dienjax.models.contract import Model, Servable
from dienjax.models.dien import DIEN
from dienjax.models.din import DIN
from dienjax.models.output import Auxiliary, Output

__all__ = ["DIEN", "DIN", "MODELS", "Auxiliary", "Model", "Output", "Servable"]
