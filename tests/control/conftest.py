"""A daemon that answers from memory, for the tests of its control API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from control.server import ControlServer
from tests.control.fake_steering import FakeSteering
from tests.control.visitor import serving


@pytest.fixture
def steering() -> Iterator[FakeSteering]:
    """It lets go of whatever hangs when the test is over."""
    fake = FakeSteering()
    yield fake
    fake.released.set()


@pytest.fixture
def server(steering: FakeSteering, tmp_path: Path) -> Iterator[ControlServer]:
    """It gives up on a call soon."""
    with serving(steering, tmp_path, ask_timeout_s=0.2, act_timeout_s=0.2) as server:
        yield server
        steering.released.set()
