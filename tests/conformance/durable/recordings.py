"""What was recorded of the real extension 3.19.0, and how two recordings are made comparable.

A recording has a case's input, the final status with its history, and every episode: the trigger body and what the SDK
answered. Times and generated ids are placeholders there; here both sides get the same ones.
"""

import json
import re
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "recordings"
_TIME = re.compile(r"<t\d+:[^>]*>|\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?")
_ID = re.compile(r"<(?:guid|hex)-\d+>|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{32}\b")
_ADDRESS = re.compile(r"<address>|0x[0-9a-f]{8,16}")
# Stack traces are those of another machine, and of .NET: everything from the first one on is left out.
_STACK = re.compile(r'(\\*"RemoteStackTrace\\*"|\\+nStack: |\nStack: |StackTrace: ).*', re.DOTALL)


def load(name: str) -> dict[str, Any]:
    """A recording by its file's name."""
    recording: dict[str, Any] = json.loads((_FOLDER / f"{name}.json").read_text())
    return recording


def names() -> list[str]:
    """The names of all recordings."""
    return sorted(path.stem for path in _FOLDER.glob("*.json"))


def comparable(value: Any) -> Any:
    """A value without what differs from run to run."""
    if isinstance(value, dict):
        return {key: "<number>" if key == "passed" else comparable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if isinstance(value, str):
        for pattern, name in ((_TIME, "<time>"), (_ID, "<id>"), (_ADDRESS, "<address>"), (_STACK, "<stack>")):
            value = pattern.sub(name, value)
        return value
    return value


def comparable_episode(episode: dict[str, str]) -> dict[str, Any]:
    """An episode with its JSON texts taken apart, so that a difference is shown where it is."""
    shown: dict[str, Any] = {"body": json.loads(episode["body"])}
    if "result" in episode:
        shown["result"] = json.loads(episode["result"])
    else:
        shown["raised"] = episode["raised"]
    return dict(comparable(shown))
