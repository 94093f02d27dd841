"""Addresses of nodes: where a link's source or target leads.

    <hub>                                             the service chooses the partition
    <hub>/Partitions/<n>                              send to one partition
    <hub>/ConsumerGroups/<group>/Partitions/<n>       read one partition

with or without `amqps://<host>/` in front, in any case.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from stand_in.event_hubs.errors import no_such_node

# Names as the service allows them: letters, digits, '.', '-' and '_', a letter or digit at both ends.
_NAME: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,254}[A-Za-z0-9])?"
_HUB_NAME: Final = re.compile(_NAME)
_TARGET: Final = re.compile(rf"({_NAME})(?:/Partitions/(\d{{1,4}}))?", re.IGNORECASE)
_SOURCE: Final = re.compile(rf"({_NAME})/ConsumerGroups/([^/]{{1,50}})/Partitions/(\d{{1,4}})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TargetAddress:
    """Where events are sent; `partition` is None when the service chooses."""

    hub: str
    partition: int | None


@dataclass(frozen=True, slots=True)
class SourceAddress:
    """Where events are read."""

    hub: str
    group: str
    partition: int


def path_of(address: str | None) -> str:
    """The address without scheme and host."""
    if not address:
        return ""
    return unquote(urlsplit(address).path if "://" in address else address).strip("/")


def is_hub_name(name: str) -> bool:
    """Whether a hub can have this name."""
    return _HUB_NAME.fullmatch(name) is not None


def target_address(address: str | None) -> TargetAddress:
    """Understand the address of a target. Raises LinkRefused."""
    matched = _TARGET.fullmatch(path_of(address))
    if matched is None:
        raise no_such_node(address)
    hub, partition = matched.groups()
    return TargetAddress(hub, None if partition is None else int(partition))


def source_address(address: str | None) -> SourceAddress:
    """Understand the address of a source. Raises LinkRefused."""
    matched = _SOURCE.fullmatch(path_of(address))
    if matched is None:
        raise no_such_node(address)
    hub, group, partition = matched.groups()
    return SourceAddress(hub, group.lower(), int(partition))
