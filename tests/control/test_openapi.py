"""The API does what its own document says: tried by schemathesis with what that allows and what it forbids."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode

from control.fields import SYMBOL_PATTERN
from control.openapi import document
from control.routes import ROUTES, Route
from control.server import ControlServer
from control.shapes import SHAPES
from tests.control.fake_steering import FakeSteering
from tests.control.visitor import program, serving

EXAMPLES = 4                 # of each kind, for a call that takes something
LATIN = "^[A-Za-z0-9._/:-]{1,40}$"
TIMES = st.datetimes(datetime(1971, 1, 1), datetime(2099, 1, 1)).map(lambda when: f"{when.isoformat()}Z")

schemathesis.openapi.format("date-time", TIMES)


@cache
def described() -> Any:
    """The document, as schemathesis reads it; with Latin symbols alone, of which examples are made faster."""
    text = json.dumps(document()).replace(json.dumps(SYMBOL_PATTERN), json.dumps(LATIN))
    return schemathesis.openapi.from_dict(json.loads(text))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ControlServer, FakeSteering]]:
    """One server for all of them, and what stands behind it."""
    steering = FakeSteering()
    with serving(steering, tmp_path_factory.mktemp("data")) as server:
        yield server, steering


def examples(route: Route, mode: GenerationMode) -> int:
    """How many are worth trying: where nothing may be said, everything said wrongly is alike."""
    if route.fields:
        return EXAMPLES
    return 1 if mode is GenerationMode.POSITIVE else 2


# To a question that takes nothing, nothing can be said wrongly that the document knows of.
TRIED = [
    pytest.param(route, mode, id=f"{route.method} {route.path} {mode.value}")
    for route in ROUTES for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or route.fields or route.is_command
]


@pytest.mark.parametrize(("route", "mode"), TRIED)
def test_it_does_what_the_document_says(
    served: tuple[ControlServer, FakeSteering], route: Route, mode: GenerationMode
) -> None:
    """Status, content type and shape of each answer; what is right is taken, what is wrong is refused, always with
    the token alone. The same cases every time."""
    server, _ = served
    assert server.address is not None
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {server.address.token}"
    operation = described()[route.path][route.method]

    @settings(
        max_examples=examples(route, mode), derandomize=True, deadline=None, database=None,
        phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        case.call_and_validate(base_url=server.address.url, session=session)  # type: ignore[union-attr]

    run()
    session.close()


def test_the_document_is_served_and_whole(served: tuple[ControlServer, FakeSteering]) -> None:
    """Every call is in it, and every shape it names is there; none lies about."""
    told = program(served[0]).get("/api/openapi.json").json
    assert told == document()
    assert {(method.upper(), path) for path, methods in told["paths"].items() for method in methods} == {
        (route.method, route.path) for route in ROUTES
    }
    described().validate()
    named = {route.answer for route in ROUTES} - {"Metrics", "Document"} | {"Error"}
    assert named == SHAPES.keys()


def test_wrong_answers_of_the_daemon_would_be_noticed(steering: FakeSteering, tmp_path: Path) -> None:
    """The check itself: an answer that breaks its promise fails it."""
    steering.on["status"] = lambda: {"state": "running"}
    with serving(steering, tmp_path) as server:
        assert server.address is not None
        case = described()["/api/status"]["GET"].Case()
        with pytest.raises(BaseExceptionGroup) as found:
            case.call_and_validate(
                base_url=server.address.url, headers={"Authorization": f"Bearer {server.address.token}"}
            )
    assert "is a required property" in str(found.value.exceptions[0])
