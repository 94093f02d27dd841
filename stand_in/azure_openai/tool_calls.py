"""Tool calls: what the scripted model calls when a prompt has `#tool` and the request offers the tool.

Like a real model it calls what was offered only, and answers in text when the results are there. A call that is
forced by `tool_choice` has arguments that fit the tool's parameters.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stand_in.azure_openai.completion_request import CompletionRequest
from stand_in.azure_openai.errors import InvalidRequest
from stand_in.azure_openai.scripted_model import Script
from stand_in.azure_openai.server_sent_events import ChunkWriter
from stand_in.azure_openai.structured_output import write_json
from stand_in.azure_openai.tokens import split_tokens


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call, its arguments in pieces of a token each."""

    call_id: str
    name: str
    pieces: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        function = {"arguments": "".join(self.pieces), "name": self.name}
        return {"function": function, "id": self.call_id, "type": "function"}


def build_tool_calls(script: Script, request: CompletionRequest) -> tuple[ToolCall, ...]:
    """The calls that the last user message orders, unless their results have come back already."""
    roles = [message.role for message in request.messages]
    if (
        "user" in roles
        and "tool" in roles[len(roles) - roles[::-1].index("user") :]
        and request.forced_tool in (None, "")  # whoever insists on "required" after the results would never get a text
    ):
        return ()
    calls = []
    for number, (name, arguments) in enumerate(script.directives.tool_calls):
        if name not in request.tools:
            offered = ", ".join(sorted(request.tools)) or "none"
            raise InvalidRequest(f"Invalid directive '#tool {name}': the request offers {offered}.", "messages")
        digest = hashlib.sha256(f"{request.messages_hash}{number}".encode()).hexdigest()[:24]
        calls.append(ToolCall(f"call_{digest}", name, tuple(split_tokens(arguments))))
    if not calls and request.forced_tool is not None:
        name = request.forced_tool or next(iter(request.tools))
        arguments = write_json(request.tools[name], request.messages_hash)
        calls.append(ToolCall(f"call_{request.messages_hash[:24]}", name, tuple(split_tokens(arguments))))
    return tuple(calls)


def tool_call_deltas(calls: tuple[ToolCall, ...], writer: ChunkWriter) -> Iterator[bytes]:
    """An event that opens each call, then one for each piece of its arguments."""
    for index, call in enumerate(calls):
        yield writer.tool_call(index, call.call_id, call.name)
        yield from (writer.tool_arguments(index, piece) for piece in call.pieces)
