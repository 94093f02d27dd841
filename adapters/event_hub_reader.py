"""Reading the log: records of an event hub, from a time on, to the end or for ever.

Reads every partition with the official consumer, without a checkpoint: whoever looks at a log begins where they say.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext

from chat.errors import LogUnavailable, MissingSetting

CONSUMER_GROUP = "$Default"
WAIT_SECONDS = 1.0  # how long a partition is waited for before it counts as silent
LARGEST_BACKLOG = 2_000  # records read ahead of who takes them


@dataclass(frozen=True, slots=True)
class LoggedRecord:
    """One event: its message id, its body as it was sent, and when the hub took it."""

    message_id: str
    body: bytes
    enqueued_at: datetime


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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._client.close()

    async def records(self, since: datetime | None, *, follow: bool) -> AsyncIterator[LoggedRecord]:
        """Records in the order of each partition: from `since` on (None: from the first that is kept), to what is
        there now, or for ever. Raises LogUnavailable when the hub is not reached."""
        queue: asyncio.Queue[LoggedRecord | None] = asyncio.Queue(LARGEST_BACKLOG)
        try:
            ends = await self._ends(since) if not follow else {}
        except Exception as error:  # the SDK lets its inner errors out, too
            raise LogUnavailable(f"The event hub was not reached: {type(error).__name__}.") from error
        open_partitions = set(ends)
        if not follow and not open_partitions:
            return

        async def take(partition: PartitionContext, events: list[EventData]) -> None:
            for event in events:
                await queue.put(_record(event))
            # Silence is no end: a busy hub may take longer than any wait to send what it has.
            if not follow and events and (events[-1].sequence_number or 0) >= ends.get(partition.partition_id, 0):
                open_partitions.discard(partition.partition_id)
                if not open_partitions:
                    await queue.put(None)

        start = since if since is not None else "-1"
        reading = asyncio.create_task(
            self._client.receive_batch(take, starting_position=start, max_wait_time=WAIT_SECONDS)
        )
        try:
            while True:
                taking = asyncio.create_task(queue.get())
                await asyncio.wait({taking, reading}, return_when=asyncio.FIRST_COMPLETED)
                if not taking.done():
                    taking.cancel()
                    raise LogUnavailable(f"The event hub stopped answering: {reading.exception()!r}.")
                record = taking.result()
                if record is None:
                    return
                yield record
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading

    async def _ends(self, since: datetime | None) -> dict[str, int]:
        """The last sequence number of each partition that has something since then."""
        partitions = await self._client.get_partition_ids()
        found = await asyncio.gather(*(self._client.get_partition_properties(name) for name in partitions))
        return {
            str(properties["id"]): int(properties["last_enqueued_sequence_number"])
            for properties in found
            if not properties["is_empty"] and (since is None or properties["last_enqueued_time_utc"] > since)
        }


def _record(event: EventData) -> LoggedRecord:
    assert event.enqueued_time is not None  # of every event that was received
    return LoggedRecord(str(event.message_id), event.body_as_str().encode(), event.enqueued_time)
