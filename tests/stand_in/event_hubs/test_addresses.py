"""Where links lead."""

import pytest

from stand_in.event_hubs.addresses import (
    SourceAddress,
    TargetAddress,
    is_hub_name,
    path_of,
    source_address,
    target_address,
)
from stand_in.event_hubs.amqp.errors import NOT_FOUND, LinkRefused


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("logs", TargetAddress("logs", None)),
        ("amqps://localhost:1234/logs", TargetAddress("logs", None)),
        ("amqp://host/openai-logs/", TargetAddress("openai-logs", None)),
        ("logs/Partitions/3", TargetAddress("logs", 3)),
        ("LOGS/partitions/3", TargetAddress("LOGS", 3)),
    ],
)
def test_a_target_is_a_hub_or_a_partition(address: str, expected: TargetAddress) -> None:
    assert target_address(address) == expected


@pytest.mark.parametrize(
    "address", ["logs/ConsumerGroups/$Default/Partitions/0", "amqps://h/logs/consumergroups/%24default/partitions/0"]
)
def test_a_source_is_a_partition_in_a_consumer_group(address: str) -> None:
    assert source_address(address) == SourceAddress("logs", "$default", 0)


@pytest.mark.parametrize("address", [None, "", "a/b", "logs/Partitions/x", "logs/Partitions/12345", "/", "-a", "a b"])
def test_anything_else_is_not_found(address: str | None) -> None:
    for understand in (target_address, source_address):
        with pytest.raises(LinkRefused) as refused:
            understand(address)
        assert refused.value.condition == NOT_FOUND


def test_a_path_is_what_lies_behind_the_host() -> None:
    assert path_of("amqps://h/$cbs") == path_of("$cbs") == "$cbs"
    assert is_hub_name("a.b-c_d9")
    assert not is_hub_name("a/b")
