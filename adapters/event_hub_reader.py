"""Reading the log: records of an event hub, from a time on, to the end or for ever.

Reads every partition with the official consumer, without a checkpoint: whoever looks at a log begins where they say.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Self

from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext

from chat.errors import LogUnavailable, MissingSetting

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

CONSUMER_GROUP = "$Default"
WAIT_SECONDS = 1.0  # after which the SDK says of a partition that nothing came
SILENT_SECONDS = 60.0  # without an event that must be there, the hub counts as not answering
LARGEST_BACKLOG = 2_000  # records read ahead of who takes them, of all partitions


@dataclass(frozen=True, slots=True)
class LoggedRecord:
    """One event: its message id, its body as it was sent, and when the hub took it."""

    message_id: str
    body: bytes
    enqueued_at: datetime


@dataclass(slots=True)
class _Backlog:
    """What was read ahead: records, and None after the last one. `complete`: that one was read."""

    queue: asyncio.Queue[LoggedRecord | None]
    complete: bool = False


class EventHubReader:
    """One reader of one hub. Use as `async with`."""

    def __init__(self, client: EventHubConsumerClient) -> None:
        self._client = client

    @classmethod
    def from_connection_string(cls, connection_string: str, name: str | None) -> Self:
        """The hub `name`, or the connection string's EntityPath. Raises MissingSetting."""
        try:
            client = EventHubConsumerClient.from_connection_string(
                connection_string, CONSUMER_GROUP, eventhub_name=name or ""
            )
        except ValueError as error:
            raise MissingSetting("AZURE_EVENTHUB_CONN_STR", "is no connection string of an event hub") from error
        return cls(client)

    @classmethod
    def from_identity(cls, fully_qualified_namespace: str, name: str, credential: "AsyncTokenCredential") -> Self:
        """As an identity, which needs the role Azure Event Hubs Data Receiver. The credential stays the caller's."""
        return cls(EventHubConsumerClient(fully_qualified_namespace, name, CONSUMER_GROUP, credential))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._client.close()

    async def records(self, since: datetime | None, *, follow: bool) -> AsyncIterator[LoggedRecord]:
        """Records from `since` on (None: from the first that is kept): for ever, each partition's in its order, or to
        what is there now, all in the order in which the hub took them. Raises LogUnavailable when it is not reached."""
        try:
            ends = await self._ends(since)
        except Exception as error:  # the SDK lets its inner errors out, too
            raise LogUnavailable(f"The event hub was not reached: {type(error).__name__}.") from error
        # That nothing comes from a partition for a while is no sign of its end: its last number is.
        backlogs = {name: _Backlog(asyncio.Queue(max(1, LARGEST_BACKLOG // len(ends)))) for name in ends}
        everything = _Backlog(asyncio.Queue(LARGEST_BACKLOG))
        if not follow and not ends:
            return

        async def take(partition: PartitionContext, events: list[EventData]) -> None:
            name = partition.partition_id
            backlog = everything if follow else backlogs.get(name)
            if backlog is None or backlog.complete:
                return
            for event in events:
                await backlog.queue.put(_record(event))
            last = events[-1].sequence_number if events else None
            if not follow and last is not None and last >= ends[name]:
                backlog.complete = True
                await backlog.queue.put(None)

        start = since if since is not None else "-1"
        reading = asyncio.create_task(
            self._client.receive_batch(take, starting_position=start, max_wait_time=WAIT_SECONDS)
        )
        try:
            if follow:
                while (record := await _next(everything, reading, None)) is not None:
                    yield record
            else:
                async for record in _merged(list(backlogs.values()), reading):
                    yield record
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading

    async def _ends(self, since: datetime | None) -> dict[str, int]:
        """The last sequence number now of each partition that has something later than `since`."""
        partitions = await self._client.get_partition_ids()
        found = await asyncio.gather(*(self._client.get_partition_properties(name) for name in partitions))
        return {
            str(properties["id"]): int(properties["last_enqueued_sequence_number"])
            for properties in found
            if not properties["is_empty"] and (since is None or properties["last_enqueued_time_utc"] > since)
        }


async def _merged(backlogs: list[_Backlog], reading: asyncio.Task[None]) -> AsyncIterator[LoggedRecord]:
    """All records by the time at which the hub took them. Holds one of each partition, and what is read ahead."""
    heads: list[tuple[datetime, int, LoggedRecord]] = []

    async def push(number: int) -> None:
        record = await _next(backlogs[number], reading, SILENT_SECONDS)
        if record is not None:
            heappush(heads, (record.enqueued_at, number, record))  # one head a partition: the number decides

    for number in range(len(backlogs)):
        await push(number)
    while heads:
        _, number, record = heappop(heads)
        yield record
        await push(number)


async def _next(backlog: _Backlog, reading: asyncio.Task[None], patience: float | None) -> LoggedRecord | None:
    """The next one, waiting for it so many seconds (None: for ever). Raises LogUnavailable when none comes."""
    taking = asyncio.create_task(backlog.queue.get())
    try:
        await asyncio.wait({taking, reading}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if taking.done():
            return taking.result()
    finally:
        taking.cancel()
    reason = type(reading.exception()).__name__ if reading.done() else "it sends no more"
    raise LogUnavailable(f"The event hub stopped answering ({reason}).")


def _record(event: EventData) -> LoggedRecord:
    assert event.enqueued_time is not None  # of every event that was received
    pieces: Any = event.body
    try:
        body = b"".join(pieces)
    except TypeError:  # not bytes: somebody else's event
        body = str(pieces).encode()
    return LoggedRecord(str(event.message_id), body, event.enqueued_time)
