"""Where a consumer starts: the filter of its source, as every Event Hubs client writes it.

    amqp.annotation.x-opt-offset > '4711'        also x-opt-sequence-number and x-opt-enqueued-time; also >=
    amqp.annotation.x-opt-offset > '-1'          from the start of the partition
    amqp.annotation.x-opt-offset > '@latest'     what comes from now on

A position becomes the sequence number of the first event to be sent.
"""

import re
from typing import Final

from stand_in.event_hubs.amqp.performatives import Attach
from stand_in.event_hubs.amqp.types import Described
from stand_in.event_hubs.errors import bad_filter, unsupported_filter
from stand_in.event_hubs.partition_log import Hub, PartitionLog

_SELECTOR: Final = "apache.org:selector-filter:string"
_FILTER_FIELD: Final = 7  # of a source (3.5.3)
_EXPRESSION: Final = re.compile(
    r"\s*amqp\.annotation\.x-opt-(offset|sequence-number|enqueued-time|enqueuedtimeutc)\s*(>=|>)\s*'([^']*)'\s*"
)


def filter_of(attach: Attach) -> str | None:
    """The text of the source's filter, None when it has none. Raises LinkRefused for another kind of filter."""
    source = attach.source.value if attach.source is not None else None
    filters = source[_FILTER_FIELD] if isinstance(source, list) and len(source) > _FILTER_FIELD else None
    if not isinstance(filters, dict) or not filters:
        return None
    for name in filters:
        if name != _SELECTOR:
            raise unsupported_filter(name)
    value = filters[_SELECTOR]
    text = value.value if isinstance(value, Described) else value
    if not isinstance(text, str):
        raise bad_filter(repr(text))
    return text


def first_sequence_number(log: PartitionLog, hub: Hub, partition: int, text: str | None) -> int:
    """The sequence number from which a consumer with this filter reads. Raises LinkRefused."""
    next_number = log.last_event(hub, partition).sequence_number + 1
    if text is None:
        return 0
    matched = _EXPRESSION.fullmatch(text)
    if matched is None:
        raise bad_filter(text)
    what, comparison, value = matched.groups()
    if value == "@latest":
        return next_number
    if value == "-1":
        return 0
    try:
        number = int(value)
    except ValueError:
        raise bad_filter(text) from None
    least = number + 1 if comparison == ">" else number
    if what == "sequence-number":
        return max(0, least)
    if what == "offset":
        found = log.first_from_offset(hub, partition, least)
    else:
        found = log.first_from_time(hub, partition, least)
    return next_number if found is None else found
