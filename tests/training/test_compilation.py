import os
import subprocess
import sys

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from dienjax.training.compilation import cache_compilations

CODE = """
import jax
from dienjax.training.compilation import cache_compilations

events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
jax.jit(lambda x: x + 1)(1.0)
cache_compilations()
jax.jit(lambda x: x * 2)(1.0)
print(sum(event.endswith("cache_hits") for event in events))
"""


@pytest.fixture
def folder(tmp_path):
    """A folder that is free; JAX's own settings are put back after the test."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: jax.config.values[name] for name in names}
    yield tmp_path / "programs"
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def test_another_process_reads_what_one_has_compiled(tmp_path):
    """In each, something was compiled before the call."""
    settings = {"XDG_CACHE_HOME": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    env = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"} | settings

    def hits():
        done = subprocess.run([sys.executable, "-c", CODE], env=env, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert hits() == 0
    assert list((tmp_path / "dienjax/xla").iterdir())
    assert hits() > 0


def test_a_given_folder_takes_the_place_of_the_one_in_use(folder, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "before"))
    compilation_cache.reset_cache()
    jax.jit(lambda x: x + 3)(1.0)
    before = sorted((tmp_path / "before").iterdir())
    cache_compilations(folder)
    jax.jit(lambda x: x * 4)(1.0)
    assert list(folder.iterdir()) and sorted((tmp_path / "before").iterdir()) == before != []


def test_settings_of_ones_own_stay(folder, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 2.0)
    cache_compilations()
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path)
    assert jax.config.values["jax_persistent_cache_min_compile_time_secs"] == 2
    cache_compilations(folder)
    assert jax.config.values["jax_compilation_cache_dir"] == str(folder)
    assert jax.config.values["jax_persistent_cache_min_compile_time_secs"] == 0.1
