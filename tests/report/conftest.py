"""What several test files of the report look at."""

import pytest
from explored import impressions_store, random_run

from dienjax.report.scored import scored


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A run on impressions: users with several samples, up to 25 candidates in one."""
    folder = tmp_path_factory.mktemp("shown")
    store = impressions_store(folder)
    return scored(random_run(store, folder), store, "test")
