"""Answers as JSON, and every failure as one sentence with the exit code of the command line."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from control.calls import TooBusy
from control.fields import BadRequest
from control.sessions import TooManyTries, WrongToken
from control.steering import BAD_CONFIG, ERROR, NOT_FOUND, TIMED_OUT, exit_code_of
from trading.errors import RadError

log = logging.getLogger("control")

SHORT = 24                   # characters: a time; one word of no more is a name or a figure

Redact = Callable[[str], str]

_HTTP_STATUS = {NOT_FOUND: 404, BAD_CONFIG: 409, TIMED_OUT: 504}


def as_json(facts: Any) -> str:
    """Return *facts* as JSON text; what JSON does not have (NaN) is an error of ours."""
    return json.dumps(facts, allow_nan=False)


def without_secrets(facts: Any, redact: Redact) -> Any:
    """Return *facts* with secrets taken out of every text in them: an error from anywhere may have brought one."""
    if isinstance(facts, str):
        return redact(facts) if len(facts) > SHORT or " " in facts else facts
    if isinstance(facts, Mapping):
        return {name: without_secrets(fact, redact) for name, fact in facts.items()}
    if isinstance(facts, list | tuple):
        return [without_secrets(fact, redact) for fact in facts]
    return facts


def answer(facts: Any, status: int = 200) -> web.Response:
    """Return *facts* as a response."""
    return as_answer(as_json(facts), status)


def as_answer(text: str, status: int = 200) -> web.Response:
    """Return JSON text as a response."""
    return web.Response(text=text, status=status, content_type="application/json")


def refusal(status: int, error: str, exit_code: int = ERROR) -> web.Response:
    """Return why not."""
    return answer({"error": error, "exit_code": exit_code}, status)


def failed(request: web.Request, error: Exception, redact: Redact) -> web.Response:
    """Return what *error* amounts to outside; raises nothing, and tells no more than is meant to be read."""
    if isinstance(error, web.HTTPException):
        refused = refusal(error.status, f"{request.method} {request.path}: {error.reason}")
        if "Allow" in error.headers:
            refused.headers["Allow"] = error.headers["Allow"]
        return refused
    if isinstance(error, BadRequest):
        return refusal(400, str(error))
    if isinstance(error, WrongToken):
        return refusal(401, str(error))
    if isinstance(error, TooManyTries):
        refused = refusal(429, str(error))
        refused.headers["Retry-After"] = str(int(error.retry_after_s) + 1)
        return refused
    if isinstance(error, TooBusy):
        return refusal(503, str(error), TIMED_OUT)
    if isinstance(error, RadError | TimeoutError):
        code = exit_code_of(error)
        return refusal(_HTTP_STATUS.get(code, 409), redact(str(error)) or "timed out", code)
    log.error("request failed path=%s", request.path, exc_info=error)
    # The text of an unforeseen error may hold anything; its kind is enough outside.
    return refusal(500, f"internal error {type(error).__name__}; the log has the details")
