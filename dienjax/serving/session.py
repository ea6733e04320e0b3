"""A graph in onnxruntime."""

from pathlib import Path
from typing import Any


def open_session(file: Path, threads: int = 1) -> Any:
    """The onnxruntime session of a graph, on the CPU.

    Args:
      threads: of one call.

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
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave the cores alone
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
