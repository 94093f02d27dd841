"""An EventSource for tests: reads a stream of server-sent events as the HTML standard tells browsers to."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp


@dataclass(frozen=True, slots=True)
class Event:
    """An event, or a comment (kind ""), whose data is what it says."""

    kind: str
    data: Any
    id: str = ""


async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    """What comes, until the stream ends. A `retry` comes as an event of that kind."""
    fields: dict[str, str] = {}
    async for line in answer.content:
        text = line.decode().removesuffix("\n")
        name, _, value = text.partition(":")
        if text == "":
            if "data" in fields:
                yield Event(fields.get("event", "message"), json.loads(fields["data"]), fields.get("id", ""))
            fields = {}
        elif name == "":
            yield Event("", value.removeprefix(" "))
        elif name == "retry":
            yield Event("retry", int(value))
        else:
            fields[name] = value.removeprefix(" ")
