"""Serving of an exported model: requests in raw values, with onnxruntime and NumPy alone."""

from dienjax.serving.ranker import Ranker

__all__ = ["Ranker"]
