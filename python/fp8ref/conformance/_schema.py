# SPDX-License-Identifier: Apache-2.0
"""Documents against their JSON Schemas, as far as the schemas of this package use that language."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..checkpoint.strict_json import damaged, read_object

FOLDER = Path(__file__).parent / "schemas"
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
WORDS = {  # what is understood; any other word of a schema is an error of the schema
    "type", "const", "enum", "pattern", "minimum", "required", "properties", "additionalProperties", "items", "$ref",
}  # fmt: skip
SILENT = {"$schema", "$defs", "title", "description"}


@cache
def schema_text(name: str) -> str:
    """The schema of that name, as it is shipped."""
    return (FOLDER / f"{name}.json").read_text(encoding="utf-8")


def read_document(path: Path, name: str) -> dict[str, Any]:
    """A JSON file that keeps to the schema of that name.

    Raises:
        CheckpointError: it does not; the message names the file, the place and what was expected.
    """
    document = read_object(path).values
    if problem := violation(document, json.loads(schema_text(name))):
        raise damaged(path, problem)
    return document


def violation(document: Any, schema: Mapping[str, Any]) -> str:
    """What in a document is against a schema first, or nothing.

    Example:
        >>> violation({"a": [1, "2"]}, {"properties": {"a": {"items": {"type": "integer"}}}})
        "a[1] must be integer, got '2'"
    """
    return _violation(document, schema, schema, "")


def _violation(value: Any, rule: Mapping[str, Any], root: Mapping[str, Any], place: str) -> str:
    if unknown := set(rule) - WORDS - SILENT:
        raise ValueError(f"a schema has the word {min(unknown)!r}")
    where = place or "the document"
    if "$ref" in rule:
        target: Any = root
        for part in rule["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        if found := _violation(value, target, root, place):
            return found
    if problem := _value(value, rule):
        return f"{where} must be {problem}, got {_short(value)}"
    if isinstance(value, dict):
        return _object(value, rule, root, place)
    if isinstance(value, list) and "items" in rule:
        for i, item in enumerate(value):
            if found := _violation(item, rule["items"], root, f"{place}[{i}]"):
                return found
    return ""


def _object(value: dict[str, Any], rule: Mapping[str, Any], root: Mapping[str, Any], place: str) -> str:
    known, others = rule.get("properties", {}), rule.get("additionalProperties", True)
    for key in rule.get("required", ()):
        if key not in value:
            return f"{place or 'the document'} lacks {key!r}"
    for key, item in value.items():
        below = known.get(key, others)
        if below is False:
            return f"{place or 'the document'} must not have {key!r}"
        if below is not True and (found := _violation(item, below, root, f"{place}.{key}".lstrip("."))):
            return found
    return ""


def _value(value: Any, rule: Mapping[str, Any]) -> str:
    """What one value should have been, or nothing."""
    types = rule.get("type", ())
    types = (types,) if isinstance(types, str) else tuple(types)
    if types and not any(_is(value, name) for name in types):
        return " or ".join(types)
    if "const" in rule and value != rule["const"]:
        return repr(rule["const"])
    if "enum" in rule and value not in rule["enum"]:
        return f"one of {', '.join(map(repr, rule['enum']))}"
    if "pattern" in rule and isinstance(value, str) and not re.search(rule["pattern"], value):
        return f"like {rule['pattern']}"
    if "minimum" in rule and isinstance(value, int | float) and value < rule["minimum"]:
        return f"at least {rule['minimum']}"
    return ""


def _is(value: Any, name: str) -> bool:
    """True and False are no numbers in JSON."""
    return isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
