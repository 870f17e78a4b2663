"""The OpenAPI document, made from the table of routes that the server itself is made from."""

from __future__ import annotations

from typing import Any

from control.fields import Field
from control.guard import CSRF_HEADER
from control.metrics import CONTENT_TYPE
from control.routes import EVENTS, ROUTES, Route
from control.shapes import SHAPES, list_of, reference
from runtime.version import VERSION

JsonObject = dict[str, Any]

ABOUT = f"""RAD's control API. Programs send `Authorization: Bearer <token>` with the token of control.json.
A browser logs in with it once and has a cookie from then on; its commands carry the header {CSRF_HEADER} as well,
with the text that log-in answered. Every failure is one sentence and an exit code."""

# By status: what it means. 503 and 504 differ in whether a command may still take effect.
_FAILURES = {
    400: "The request makes no sense", 401: "The token is missing or wrong",
    403: "Another site's request, or a Host that is not served", 404: "There is no such thing",
    409: "It cannot be done now", 413: "The body is too large", 429: "Too many wrong tokens",
    500: "A fault of RAD's; its log has the details", 503: "Too busy: nothing was done",
    504: "No answer in time: it may still happen",
}


def document() -> JsonObject:
    """Return the whole document, as JSON takes it."""
    paths: JsonObject = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "RAD", "version": VERSION, "description": ABOUT},
        "security": [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": SHAPES,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "rad_8420",
                            "description": "The number is that of the server's port"},
            },
        },
    }


def _operation(route: Route) -> JsonObject:
    operation: JsonObject = {
        "operationId": f"{route.method.lower()}_{route.name.strip('/').replace('/', '_').replace('.', '_')}",
        "summary": route.summary,
        "responses": {"200": _answered(route)} | {
            str(status): _refused(about) for status, about in _FAILURES.items() if _may_fail(route, status)
        },
    }
    if route.is_open:
        operation["security"] = []
    if route.answer == "Health":
        operation["responses"]["503"] = _unwell()
    if route.is_command:
        operation["requestBody"] = _body(route.fields)
    elif route.fields:
        operation["parameters"] = [_parameter(field) for field in route.fields]
    return operation


def _may_fail(route: Route, status: int) -> bool:
    if status == 401:
        return not route.is_open or route.path == "/api/login"
    if status == 413:
        return route.is_command
    if status == 429:
        return route.path == "/api/login"
    return True


def _answered(route: Route) -> JsonObject:
    if route.answer == "Metrics":
        kind = CONTENT_TYPE.partition(";")[0]
        return {"description": route.summary, "content": {kind: {"schema": {"type": "string"}}}}
    if route.answer == "Document":
        return {"description": route.summary, "content": {"application/json": {"schema": {"type": "object"}}}}
    shown = reference(route.answer)
    content: JsonObject = {"application/json": {"schema": list_of(shown) if route.is_list else shown}}
    if route.path == EVENTS:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {"description": route.summary, "content": content}


def _unwell() -> JsonObject:
    return {
        "description": "It makes no progress",
        "content": {"application/json": {"schema": reference("Health")}},
    }


def _refused(about: str) -> JsonObject:
    return {"description": about, "content": {"application/json": {"schema": reference("Error")}}}


def _parameter(field: Field) -> JsonObject:
    return {
        "name": field.name, "in": "query", "required": field.required, "description": field.about,
        "schema": field.schema,
    }


def _body(fields: tuple[Field, ...]) -> JsonObject:
    required = [field.name for field in fields if field.required]
    schema: JsonObject = {
        "type": "object", "additionalProperties": False,
        "properties": {field.name: {**field.schema, "description": field.about} for field in fields},
    }
    if required:
        schema["required"] = required
    return {"required": bool(required), "content": {"application/json": {"schema": schema}}}
