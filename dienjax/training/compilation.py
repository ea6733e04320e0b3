"""Compiled programs on disk: what one process has compiled, the next one reads."""

import os
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

SECONDS = 0.1
"""A program that compiles faster than this is not worth a file."""


def cache_compilations(folder: str | Path | None = None) -> None:
    """Keep compiled programs in a folder, so that the next process reads them instead of compiling again.

    This sets up JAX's persistent compilation cache, as the command line does. From this call on, each program that
    takes 0.1 seconds or more to compile is kept there; one that was compiled earlier in this process is not. A program
    is read again for the same computation on the same shapes, devices and versions of JAX and XLA.

    Several processes may use one folder at a time. A file that is incomplete, because another process is writing it or
    was killed while it did, is not used: the program is compiled again, with a warning. The folder only grows; delete
    it to clear the cache. Programs in it are run unchecked, so let nobody write there whom you do not trust.

    Args:
      folder: where programs are kept. If left out, the folder that JAX has already been told to use
        (`jax_compilation_cache_dir`, or JAX_COMPILATION_CACHE_DIR in the environment), with its settings; if there is
        none, `dienjax/xla` in $XDG_CACHE_HOME or in ~/.cache.
    """
    if folder is None:
        if jax.config.values["jax_compilation_cache_dir"]:
            return
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dienjax" / "xla"
    shortest = min(SECONDS, jax.config.values["jax_persistent_cache_min_compile_time_secs"])
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", shortest)
    compilation_cache.reset_cache()  # else JAX goes on with the folder it first used
