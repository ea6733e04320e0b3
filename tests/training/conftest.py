"""What the tests of training share."""

import jax
import pytest


@pytest.fixture
def compilations():
    """A list that grows by one with each program that is compiled."""
    events = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)
