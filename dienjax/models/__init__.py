"""The models by name."""

from dienjax.models.dien import DIEN
from dienjax.models.din import DIN

MODELS = {"DIN": DIN, "DIEN": DIEN}
