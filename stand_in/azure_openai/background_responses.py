"""The stored responses: kept in memory and, one file each, in the state folder.

A file is complete before anybody learns the response's id, and replaced when the response is cancelled; so kill -9 of
the emulator loses none that a client knows of. The oldest give way to new ones.
"""

import asyncio
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from stand_in.azure_openai.errors import ResponseNotFound
from stand_in.azure_openai.paced_sender import Event, PacedSender
from stand_in.azure_openai.request_log import RequestRecord
from stand_in.azure_openai.response_events import ResponseEvents
from stand_in.azure_openai.stored_response import StoredResponse

logger = logging.getLogger(__name__)

KEPT_RESPONSES = 1_000


def _read(path: Path) -> StoredResponse | None:
    try:
        return StoredResponse.from_dict(json.loads(path.read_text()))
    except (ValueError, KeyError, TypeError) as error:  # of another version of the emulator, or edited
        logger.warning("A stored response cannot be read and is left out: %s (%r)", path, error)
        return None


class LiveResponse:
    """A response and the word to those who read it at the moment."""

    def __init__(self, stored: StoredResponse) -> None:
        self.stored = stored
        self.events = ResponseEvents(stored)
        self.stopped = asyncio.Event()  # cancelled or deleted: nobody gets any more of it
        self.senders: set[PacedSender] = set()

    def stop(self) -> None:
        self.stopped.set()
        for sender in self.senders:
            sender.stop()


class Reader:
    """One connection that is sent the events of a response, from number `next` on."""

    def __init__(self, live: LiveResponse, first: int, sender: PacedSender, record: RequestRecord) -> None:
        self._live = live
        self._sender = sender
        self._record = record
        self._said_before = live.events.tokens_through(first - 1)
        self.next = first

    async def send(self, limit: int | None = None) -> None:
        """Send what is there, then each event when it is due; until there are no more, `limit` tokens were said on
        this connection, or the response is stopped."""
        self._live.senders.add(self._sender)
        try:
            await self._sender.send(self._events(limit))
        finally:
            self._live.senders.discard(self._sender)

    async def be_silent(self, seconds: float) -> None:
        """Send nothing for a while, unless the response is stopped meanwhile."""
        try:
            await asyncio.wait_for(self._live.stopped.wait(), seconds)
        except TimeoutError:
            return

    def _events(self, limit: int | None) -> Iterator[Event]:
        stored, events = self._live.stored, self._live.events
        after, frozen_seconds = stored.freeze
        last_token = None if limit is None else min(limit, stored.said - self._said_before)
        while self.next < events.count:
            event = events.event(self.next)
            if stored.cancelled_at is not None and stored.due_at(event.tokens_before) > stored.cancelled_at:
                return
            if last_token is not None and event.tokens_before - self._said_before >= last_token:
                return
            if frozen_seconds and event.tokens_before >= after:
                self._sender.delay(frozen_seconds)
                frozen_seconds = 0.0
            yield event
            self._record.tokens_sent = events.tokens_through(self.next) - self._said_before
            self.next += 1


class BackgroundResponses:
    """All that are kept."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._clock = clock
        self._live: dict[str, LiveResponse] = {}
        folder.mkdir(parents=True, exist_ok=True)
        found = (_read(path) for path in folder.glob("resp_*.json"))
        for stored in sorted((each for each in found if each), key=lambda each: each.created_at):
            self._live[stored.response_id] = LiveResponse(stored)

    def keep(self, live: LiveResponse) -> None:
        self._write(live.stored)
        self._live[live.stored.response_id] = live
        while len(self._live) > KEPT_RESPONSES:
            self.delete(next(iter(self._live)))

    def find(self, response_id: str) -> LiveResponse:
        live = self._live.get(response_id)
        if live is None:
            raise ResponseNotFound(response_id)
        return live

    def cancel(self, response_id: str) -> None:
        """Stop production now; one that is over stays as it is."""
        live, now = self.find(response_id), self._clock()
        if live.stored.status(now) == "in_progress":
            live.stored.cancelled_at = now
            live.stop()
            self._write(live.stored)

    def delete(self, response_id: str) -> None:
        live = self.find(response_id)
        self._path(response_id).unlink(missing_ok=True)
        del self._live[response_id]
        live.stop()

    def _path(self, response_id: str) -> Path:
        return self._folder / f"{response_id}.json"

    def _write(self, stored: StoredResponse) -> None:
        path = self._path(stored.response_id)
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(stored.to_dict()))
        os.replace(draft, path)
