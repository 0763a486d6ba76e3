"""Images of the fault suite."""

import pytest
from old_checkpoints import make_shapes


@pytest.fixture(scope='session')
def shapes(tmp_path_factory):
    """A folder of 32 training images, 4 steps per epoch."""
    return make_shapes(tmp_path_factory.mktemp('faults') / 'shapes', 32)


def pytest_configure(config):
    config.addinivalue_line('markers', 'fault(what, happens): a row of docs/faults.md')
