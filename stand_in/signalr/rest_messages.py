"""Sending: from the body of a REST call to the clients that it is for, and to the log.

A message body is `{"target": "...", "arguments": [...]}`; the case of the names does not matter, since the official
SDK writes them in Pascal case. It is read once and encoded once for each protocol, however many clients receive it.
"""

import asyncio
import json
from collections.abc import Callable, Collection
from typing import Any, NoReturn

from aiohttp import web

from stand_in import crash_points
from stand_in.signalr.client_connection import ClientConnection
from stand_in.signalr.emulator import Emulator
from stand_in.signalr.errors import BadRequest, InjectedFault, UnsupportedMedia
from stand_in.signalr.faults import CUT_THE_CONNECTION, Refusal
from stand_in.signalr.hub import deliver
from stand_in.signalr.hub_protocol import JSON, EncodedOnce, Invocation


class Outbox:
    """Delivers messages, with the faults that are in force."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        # A message that the fault "reorder" makes wait for the next one.
        self._held: Callable[[], None] | None = None

    async def send(
        self,
        request: web.Request,
        hub: str,
        scope: str,
        name: str,
        receivers: Collection[ClientConnection],
    ) -> bool:
        """Send the request's body to `receivers`; False when a fault wants the caller's connection cut."""
        body = await request.read()
        message = read_message(request.content_type, body)
        emulator, faults = self._emulator, self._emulator.faults
        refusal = faults.next_send(emulator.now())
        if refusal is not None and refusal.status != 202 and not refusal.applied:
            return self._refuse(refusal)
        outcome = self._outcome()
        crash_points.before_commit()
        times = self._carry_out(outcome, lambda: self._deliver(message, receivers))
        crash_points.after_commit()
        if receivers and faults.happens(faults.disconnect):
            for receiver in receivers:
                receiver.end_with(faults.goodbye)
        assert isinstance(message.record, Invocation)
        emulator.log.add(
            time=emulator.unix_time(),
            hub=hub,
            scope=scope,
            name=name,
            target=message.record.target,
            arguments=message.record.arguments,
            body_bytes=len(body),
            receivers=times * len(receivers),
            outcome=outcome,
        )
        if faults.delay:
            await asyncio.sleep(faults.delay)
        if refusal is not None and refusal.status != 202:
            return self._refuse(refusal)
        return True

    def release_held(self) -> None:
        """Deliver what waits for a successor that may never come."""
        if self._held is not None:
            held, self._held = self._held, None
            held()

    def _deliver(self, message: EncodedOnce, receivers: Collection[ClientConnection]) -> None:
        late = self._emulator.faults.how_late()
        if late:
            # After the faults are taken away what is under way still arrives.
            asyncio.get_running_loop().call_later(late, deliver, message, receivers)
        else:
            deliver(message, receivers)

    def _refuse(self, refusal: Refusal) -> bool:
        self._emulator.log.refused[refusal.status] += 1
        if refusal.status == CUT_THE_CONNECTION:
            return False
        raise InjectedFault(refusal.status, refusal.retry_after)

    def _outcome(self) -> str:
        faults = self._emulator.faults
        if faults.happens(faults.drop):
            return "dropped"
        if faults.happens(faults.duplicate):
            return "duplicated"
        if self._held is None and faults.happens(faults.reorder):
            return "reordered"
        return "delivered"

    def _carry_out(self, outcome: str, delivery: Callable[[], None]) -> int:
        """Deliver now, later, twice or never; returns how often."""
        if outcome == "dropped":
            return 0
        if outcome == "reordered":
            self._held = delivery
            return 1
        delivery()
        if outcome == "duplicated":
            delivery()
        self.release_held()
        return 2 if outcome == "duplicated" else 1


def read_message(content_type: str, body: bytes) -> EncodedOnce:
    """The invocation that a body asks for, checked to be something that can be sent."""
    if content_type != "application/json":
        raise UnsupportedMedia(
            "UnsupportedMediaType", f"A message is application/json; the emulator does not support {content_type}."
        )
    try:
        fields = json.loads(body, parse_constant=_refuse_constant)
    except ValueError as error:
        raise BadRequest("InvalidJson", f"The body is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise BadRequest("InvalidArgument", "The body is a JSON object with 'target' and 'arguments'.")
    named: dict[str, Any] = {name.lower(): value for name, value in fields.items()}
    target, arguments = named.get("target"), named.get("arguments")
    if not isinstance(target, str) or not target:
        raise BadRequest("InvalidArgument", "The field 'target' is a text that names a client method.", target="target")
    if not isinstance(arguments, list | None):
        raise BadRequest("InvalidArgument", "The field 'arguments' is an array.", target="arguments")
    message = EncodedOnce(Invocation(target, arguments or []))
    try:
        message.frame(JSON)
    except UnicodeEncodeError as error:
        # System.Text.Json refuses the escape of half a surrogate pair, since no UTF-8 text can hold it.
        raise BadRequest("InvalidJson", "The body holds half of a surrogate pair.") from error
    return message


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
