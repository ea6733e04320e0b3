"""An exported model answers requests in raw values; onnxruntime and NumPy are all that it needs."""

from dienjax.serving.ranker import Ranker

__all__ = ["Ranker"]
