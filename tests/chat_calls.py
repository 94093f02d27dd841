"""What the model emulator of a stack was asked, as it saw it."""

import json
from typing import Any

import aiohttp

from tests.running_stack import RunningStack


async def chat_calls(stack: RunningStack, question: str | None = None) -> list[dict[str, Any]]:
    """The chat completions it was asked for, oldest first, with `messages`; those with this last message alone, if one
    is given. Others (embeddings, responses, what was no JSON) come to the same emulator and are left out."""
    url = f"{stack.address('model')}/_admin/requests?bodies=1"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        calls = (await answer.json())["requests"]
    asked = [call | {"messages": _messages(call["body"])} for call in calls]
    found = [call for call in asked if call["messages"]]
    return [call for call in found if question is None or call["messages"][-1]["content"] == question]


def _messages(body: str) -> list[dict[str, Any]]:
    try:
        value = json.loads(body)
    except ValueError:
        return []
    found = value.get("messages") if isinstance(value, dict) else None
    return found if isinstance(found, list) else []
