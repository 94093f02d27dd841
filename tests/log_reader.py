"""Reads log records as an operator would: with the official consumer."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import Any

from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext


async def read_records(settings: Mapping[str, str], turn_ids: set[str], seconds: float = 20) -> list[dict[str, Any]]:
    """The records of these turns. Fails when one has none within that time; see `find_records`."""
    found = await find_records(settings, turn_ids, seconds)
    missing = turn_ids - {record["turn_id"] for record in found}
    if missing:
        raise AssertionError(f"no record of {missing} within {seconds} s")
    return found


async def find_records(settings: Mapping[str, str], turn_ids: set[str], seconds: float) -> list[dict[str, Any]]:
    """The records of these turns, from the beginning of the hub until each has one and everything was read, or until
    the time is over.

    Duplicates are kept, with their message id under `_id`: how many there are is what some tests are about.
    """
    client = EventHubConsumerClient.from_connection_string(
        settings["AZURE_EVENTHUB_CONN_STR"], "$Default", eventhub_name=settings["AZURE_EVENTHUB_NAME"]
    )
    found: list[dict[str, Any]] = []
    missing, partitions_at_end = set(turn_ids), set[str]()
    done = asyncio.Event()

    async def take(partition: PartitionContext, events: list[EventData]) -> None:
        for event in events:
            record = json.loads(event.body_as_str()) | {"_id": event.message_id}
            if record.get("turn_id") in turn_ids:  # a proxied call's has none
                found.append(record)
                missing.discard(record["turn_id"])
        (partitions_at_end.add if not events else partitions_at_end.discard)(partition.partition_id)
        if not missing and len(partitions_at_end) == partition_count:
            done.set()

    async with client:
        partition_count = len(await client.get_partition_ids())
        reading = asyncio.create_task(client.receive_batch(take, starting_position="-1", max_wait_time=0.3))
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await done.wait()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
    return found
