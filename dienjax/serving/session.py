"""A graph in onnxruntime."""

from pathlib import Path
from typing import Any


def open_session(file: Path) -> Any:
    """The onnxruntime session of a graph, on the CPU, with one thread per call; several threads may call it at once.

    Raises:
      ModuleNotFoundError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "serving needs onnxruntime, which is not installed: pip install onnxruntime"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # Calls at once would wait for each other at every operator, whose memory comes from one place under one lock.
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
