"""A trained run as a folder to serve from, checked against JAX: ONNX graphs or StableHLO programs, and vocabularies."""

from dienjax.export.own_process import export_run
from dienjax.export.stablehlo import load_programs

__all__ = ["export_run", "load_programs"]
