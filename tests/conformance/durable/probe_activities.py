# ruff: noqa: E501 - as it was recorded
"""Activities of the recorded app: each answers one question about what crosses the border to the extension.

The bodies are those that were recorded; they break rules of style where the question needs it.
"""

import json
import time
from collections import Counter

import azure.durable_functions as df

bp = df.Blueprint()
_calls: Counter[str] = Counter()


def bump(name: str) -> int:
    """How often this name was called."""
    _calls[name] += 1
    return _calls[name]


class ProbeError(Exception):
    """A custom exception type, to see which of its parts survive."""

    def __init__(self, message, code):
        super().__init__(message)
        self.code = code


class Point:
    """A custom class with the SDK's serialisation hooks."""

    def __init__(self, x):
        self.x = x

    @staticmethod
    def to_json(obj):
        return {"x": obj.x}

    @staticmethod
    def from_json(data):
        return Point(data["x"])


@bp.activity_trigger(input_name="value")
def a_echo(value):
    return value


@bp.activity_trigger(input_name="value")
def a_echo2(value):
    return value


@bp.activity_trigger(input_name="value", activity="RenamedActivity")
def a_renamed(value):
    return {"renamed": value}


@bp.activity_trigger(input_name="value")
def a_type(value):
    """What the activity sees: Python type and repr."""
    return {"type": type(value).__name__, "repr": repr(value)[:500]}


@bp.activity_trigger(input_name="value")
def a_none(value):
    return None


@bp.activity_trigger(input_name="spec")
def a_flaky(spec: dict):
    """Fails until the given attempt. spec = {"key": text, "succeed_on": n}"""
    n = bump("flaky-" + spec["key"])
    if n < spec["succeed_on"]:
        raise ValueError(f"attempt {n} fails")
    return {"attempt": n}


@bp.activity_trigger(input_name="kind")
def a_fail(kind: str):
    if kind == "value":
        raise ValueError("plain message")
    if kind == "custom":
        raise ProbeError("custom message", 42)
    if kind == "empty":
        raise ValueError()
    if kind == "multiline":
        raise ValueError("first line\nsecond line\n  third\n\nStack: not really\nException: neither")
    if kind == "unicode":
        raise ValueError("失敗しました 🚀 é \u2028 end")
    if kind == "long":
        raise ValueError("x" * 100_000)
    if kind == "secret":
        # Shaped like a secret, but none: shows what the host hides in error texts.
        raise ValueError(
            "cs=DefaultEndpointsProtocol=https;AccountName=none;AccountKey=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==;EndpointSuffix=x code=abc?sig=def"
        )
    if kind == "chained":
        try:
            {}["missing"]
        except KeyError as e:
            raise RuntimeError("outer") from e
    if kind == "key":
        raise KeyError("the key")
    if kind == "unserialisable":
        return object()
    if kind == "set":
        return {1, 2}
    if kind == "nan":
        return float("nan")
    if kind == "marker":
        raise ValueError('text with \n\n$OutOfProcData$:{"isDone":true} inside')
    if kind == "json":
        raise ValueError(json.dumps({"class": "rate_limited", "wait": 3}))
    raise AssertionError(kind)


@bp.activity_trigger(input_name="n")
def a_big(n: int):
    return "b" * n


@bp.activity_trigger(input_name="value")
def a_len(value):
    return {"type": type(value).__name__, "len": len(value), "head": str(value)[:20]}


@bp.activity_trigger(input_name="spec")
def a_sleep(spec: dict):
    """Blocks its thread. spec = {"tag": text, "ms": n}"""
    time.sleep(spec["ms"] / 1000)
    return spec.get("n")
