"""Structured output: the schema that a request asks its answer to follow, and an instance of it.

The instance is the same for the same messages; it has every property and one item in each array. What a schema can say
and the service accepts in strict mode is obeyed: objects, arrays, strings, numbers, booleans, null, enum, const, anyOf,
`$ref` into the schema itself.
"""

import json
import random
from typing import Any

from stand_in.azure_openai.errors import InvalidRequest, NotEmulated
from stand_in.azure_openai.prose import write_sentences

DEEPEST = 12  # a schema may refer to itself: from here on optional branches and items are left out
_JSON_OBJECT = {"type": "object", "properties": {"answer": {"type": "string"}}}


def parse_format(value: object, param: str, texts: list[str]) -> dict[str, Any] | None:
    """The schema of a `response_format` (chat) or `text.format` (Responses); None for text.

    `texts` are the messages: the service demands that they speak of JSON before it promises any JSON object.
    """
    if value is None:
        return None
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        if not any("json" in text.lower() for text in texts):
            raise InvalidRequest(
                f"'messages' must contain the word 'json' in some form, to use '{param}' of type 'json_object'.", param
            )
        return _JSON_OBJECT
    if kind != "json_schema" or not isinstance(value, dict):
        raise InvalidRequest(f"Invalid '{param}': its type is text, json_object or json_schema.", param)
    described = value.get("json_schema", value)  # the Responses API has its members one level higher
    if not isinstance(described, dict) or not isinstance(described.get("name"), str):
        raise InvalidRequest(f"Missing required parameter: '{param}.json_schema.name'.", f"{param}.json_schema.name")
    schema = described.get("schema")
    if not isinstance(schema, dict):
        raise InvalidRequest(f"Missing required parameter: '{param}.json_schema.schema'.", param)
    if described.get("strict"):
        _check_strict(schema, described["name"], param, ())
    return schema


def _check_strict(schema: dict[str, Any], name: str, param: str, context: tuple[str, ...]) -> None:
    """Strict mode knows closed objects alone, with every property required."""
    properties = schema.get("properties", {})
    problem = ""
    if schema.get("type") == "object" or properties:
        if schema.get("additionalProperties") is not False:
            problem = "'additionalProperties' is required to be supplied and to be false."
        elif set(schema.get("required", ())) != set(properties):
            problem = "'required' is required to be supplied and to be an array including every key in properties."
    if problem:
        message = f"Invalid schema for response_format '{name}': In context={context}, {problem}"
        raise InvalidRequest(message, param, "invalid_json_schema")
    for key, inner in properties.items():
        _check_strict(inner, name, param, (*context, "properties", key))
    if isinstance(schema.get("items"), dict):
        _check_strict(schema["items"], name, param, (*context, "items"))
    for key, inner in schema.get("$defs", {}).items():
        _check_strict(inner, name, param, (*context, "$defs", key))


def write_json(schema: dict[str, Any], seed: str) -> str:
    """An instance of the schema as JSON text."""
    return json.dumps(_instance(schema, schema, random.Random(seed), 0), ensure_ascii=False)


def _instance(schema: dict[str, Any], root: dict[str, Any], chance: random.Random, depth: int) -> Any:
    if "$ref" in schema:
        return _instance(_resolve(schema["$ref"], root), root, chance, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][int(chance.random() * len(schema["enum"]))]
    if schema.get("anyOf"):
        branches = schema["anyOf"]
        # The last branch of an optional member is null by custom: where a schema refers to itself, that ends it.
        return _instance(branches[-1 if depth > DEEPEST else 0], root, chance, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[-1 if depth > DEEPEST else 0]
    return _of_type(kind, schema, root, chance, depth)


def _of_type(kind: str, schema: dict[str, Any], root: dict[str, Any], chance: random.Random, depth: int) -> Any:
    if kind == "object":
        properties = schema.get("properties", {})
        return {key: _instance(inner, root, chance, depth + 1) for key, inner in properties.items()}
    if kind == "array":
        if depth > DEEPEST:
            return []
        items = schema.get("items", {"type": "string"})
        return [_instance(items, root, chance, depth + 1) for _ in range(max(1, schema.get("minItems", 1)))]
    low = schema.get("minimum", 0)
    if kind == "integer":
        return int(low + chance.random() * (schema.get("maximum", low + 100) - low))
    if kind == "number":
        return round(low + chance.random() * (schema.get("maximum", low + 100) - low), 2)
    if kind == "boolean":
        return chance.random() < 0.5
    return None if kind == "null" else write_sentences("latin", str(chance.random()), 1)


def _resolve(reference: str, root: dict[str, Any]) -> dict[str, Any]:
    found: Any = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        if part:
            found = found.get(part) if isinstance(found, dict) else None
    if not reference.startswith("#") or not isinstance(found, dict):
        raise NotEmulated(f"the schema reference {reference!r}", "response_format")
    return found
