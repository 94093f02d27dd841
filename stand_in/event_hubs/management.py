"""The node `$management`: what a client may know about a hub and its partitions.

Status code and text are given under two names each: the SDK reads the code under the one and the text under the other.
"""

from collections.abc import Callable
from typing import Final

from stand_in.event_hubs.amqp.errors import LinkRefused
from stand_in.event_hubs.amqp.messages import Request, Response
from stand_in.event_hubs.amqp.types import Array, Int, Long, Timestamp
from stand_in.event_hubs.partition_log import Hub, PartitionLog

NODE: Final = "$management"
_HUB: Final = "com.microsoft:eventhub"
_PARTITION: Final = "com.microsoft:partition"


def answer(request: Request, log: PartitionLog, find_hub: Callable[[str], Hub]) -> Response:
    """Answer a READ of a hub or a partition; `find_hub` raises LinkRefused for a hub this client does not get."""
    operation, kind, name = request.text("operation"), request.text("type"), request.text("name")
    if operation != "READ":
        return _reply(501, f"The operation '{operation}' is not supported, only 'READ'.")
    if kind not in (_HUB, _PARTITION):
        return _reply(501, f"The entity type '{kind}' is not supported, only '{_HUB}' and '{_PARTITION}'.")
    try:
        hub = find_hub(name)
    except LinkRefused as refusal:
        return _reply(401 if "unauthorized" in refusal.condition else 404, refusal.description)
    if kind == _HUB:
        return _reply(200, "OK", _hub_properties(hub))
    partition = request.text("partition")
    if not partition.isdecimal() or int(partition) >= hub.partition_count:
        return _reply(404, f"The messaging entity '{name}/Partitions/{partition}' could not be found.")
    return _reply(200, "OK", _partition_properties(log, hub, int(partition)))


def _hub_properties(hub: Hub) -> dict[str, object]:
    return {
        "name": hub.name,
        "type": _HUB,
        "created_at": Timestamp(hub.created_ms),
        "partition_count": Int(hub.partition_count),
        "partition_ids": Array(tuple(str(number) for number in range(hub.partition_count))),
    }


def _partition_properties(log: PartitionLog, hub: Hub, partition: int) -> dict[str, object]:
    last = log.last_event(hub, partition)
    return {
        "name": hub.name,
        "type": _PARTITION,
        "partition": str(partition),
        "begin_sequence_number": Long(0),  # nothing is ever deleted
        "last_enqueued_sequence_number": Long(last.sequence_number),
        "last_enqueued_offset": str(last.offset),
        "last_enqueued_time_utc": Timestamp(last.enqueued_ms),
        "is_partition_empty": last.sequence_number < 0,
    }


def _reply(code: int, description: str, body: dict[str, object] | None = None) -> Response:
    properties: dict[str, object] = {
        "status-code": Int(code),
        "statusCode": Int(code),
        "status-description": description,
        "statusDescription": description,
    }
    return Response(properties, body or {})
