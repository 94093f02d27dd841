"""Request edits: the one thing that the proxy changes in what it passes on.

A log needs the usage of a streamed answer, and the service tells it only who asks (`stream_options.include_usage`). So
the proxy asks when the caller did not, and takes the answer to its question out of the stream again (`completion_tap`).
Everything else in the body stays as it came, to the byte.

A service without Azure's paths is a case of its own: there the body must name the model that the path named.
"""

import json
from dataclasses import dataclass
from typing import Any

from chat.json_members import last_member, with_member, with_value

ASKED = '{"include_usage":true}'


@dataclass(frozen=True, slots=True)
class PassedOn:
    """A body as it goes to the service; `usage_added` says that usage is ours to hide from the caller."""

    body: bytes
    usage_added: bool = False


def asking_for_usage(body: bytes, value: dict[str, Any]) -> PassedOn:
    """The body of a chat completion, asking for usage. `value` is what it says; anything but a stream stays as it is,
    and so does what the service has to refuse (a `stream_options` that is no object)."""
    if value.get("stream") is not True:
        return PassedOn(body)
    text, options = body.decode(), value.get("stream_options")
    if options is None:
        member = last_member(text, "stream_options")
        edited = with_value(text, member, ASKED) if member else with_member(text, "stream_options", ASKED)
    elif not isinstance(options, dict) or options.get("include_usage") is True:
        return PassedOn(body)
    else:
        outer = last_member(text, "stream_options")
        assert outer is not None  # `value` has it
        inner = last_member(text, "include_usage", outer.value_start)
        if inner is None:
            edited = with_member(text, "include_usage", "true", outer.value_start)
        elif inner.value is False or inner.value is None:
            edited = with_value(text, inner, "true")
        else:
            return PassedOn(body)  # not a boolean: the service says so better than we do
    return PassedOn(edited.encode(), usage_added=True)


def naming_model(body: bytes, deployment: str) -> bytes:
    """The body with this `model`, whatever it named: on Azure's paths the deployment in the path is what counts."""
    text, name = body.decode(), json.dumps(deployment)
    member = last_member(text, "model")
    if member is not None and member.value == deployment:
        return body
    return (with_value(text, member, name) if member else with_member(text, "model", name)).encode()
