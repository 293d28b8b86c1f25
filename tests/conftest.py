"""What every test may ask for."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.bed.fixtures"]

# A machine that does much else is slow, and no property is wrong for that. Every run tries the same examples, so that a
# change is refused for what it changed; `build.py test --seed N` and `--soak` draw others.
drawn = bool(os.environ.keys() & {"FLEDX_TEST_SEED", "FLEDX_TEST_SOAK"})
settings.register_profile(
    "fledx", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=not drawn, database=None
)
settings.load_profile("fledx")

# A shell starts what it puts in the background, and nohup all it starts, deaf to these; whatever a test runs inherits
# that, and would not be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """fledx runs on asyncio and nothing else."""
    return "asyncio"
