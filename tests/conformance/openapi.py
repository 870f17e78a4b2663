"""KuCoin's specification: what an answer must look like, and what its own example gets wrong."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

Json = dict[str, Any]


class Specification:
    """The schemas in KuCoin's OpenAPI files.

    A breach that KuCoin's own example commits as well is the specification's fault and forgiven.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def answer_breaches(self, file: str, method: str, path: str, answer: Any) -> list[str]:
        """Return what is wrong with *answer* to `METHOD path`, a sentence each."""
        operation = self._document("rest", file)["paths"][path][method.lower()]
        return _breaches(operation, self._document("rest", file), answer)

    def push_breaches(self, file: str, topic: str, message: Any) -> list[str]:
        """Return what is wrong with a pushed *message* of *topic*, as the specification writes it."""
        document = self._document("ws", file)
        operation = next(o["trace"] for o in document["paths"].values() if o["trace"]["x-topic"] == topic)
        return _breaches(operation, document, message)

    def topics(self, file: str) -> list[str]:
        return [o["trace"]["x-topic"] for o in self._document("ws", file)["paths"].values()]

    def _document(self, kind: str, file: str) -> Json:
        return _read(self._folder / kind / f"openapi-{file}.json")


@cache
def _read(path: Path) -> Json:
    document: Json = json.loads(path.read_text(encoding="utf-8"))
    return document


def _breaches(operation: Json, document: Json, found: Any) -> list[str]:
    schema = _plain(operation["responses"]["200"]["content"]["application/json"]["schema"], document)
    validator = Draft202012Validator(schema)
    example = _example(operation)
    forgiven = {_rule(error) for error in validator.iter_errors(example)} if example is not None else set()
    return [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:160]}"
        for error in validator.iter_errors(found) if _rule(error) not in forgiven
    ]


def _rule(error: Any) -> tuple[Any, ...]:
    """Return which rule was broken where, whatever the value; a missing field is a rule of its own."""
    missing = error.message if error.validator == "required" else ""
    return tuple(error.absolute_schema_path), missing


def _plain(schema: Any, document: Json) -> Any:
    """Return an OpenAPI 3.0 schema as JSON Schema: references resolved, `nullable` spelled out."""
    if isinstance(schema, list):
        return [_plain(part, document) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return _plain(found, document)
    plain = {name: _plain(value, document) for name, value in schema.items() if not name.startswith("x-")}
    if plain.get("type") == "AnyType":           # KuCoin's own word for a mixture
        del plain["type"]
    if plain.pop("nullable", False) and isinstance(plain.get("type"), str):
        plain["type"] = [plain["type"], "null"]
        if "enum" in plain:
            plain["enum"] = [*plain["enum"], None]
    return plain


def _example(operation: Json) -> Any:
    """Return KuCoin's example answer; its JSON is escaped once or twice."""
    text = operation.get("x-response-example")
    for _ in range(3):
        if not isinstance(text, str):
            return text
        try:
            text = json.loads(text)
        except ValueError:
            text = text.replace('\\"', '"').replace("\\n", "\n")
    return text if not isinstance(text, str) else None
