"""Who reads a partition, and who has to give way."""

from dataclasses import dataclass

import pytest

from stand_in.event_hubs.amqp.errors import LINK_STOLEN, RESOURCE_LIMIT_EXCEEDED, LinkRefused
from stand_in.event_hubs.consumer_groups import MAX_READERS, ConsumerGroups, Seat

SEAT = Seat(1, "$default", 0)


@dataclass(eq=False)
class Someone:
    groups: ConsumerGroups
    epoch: int | None = None
    evicted_for: str = ""

    def evict(self, condition: str, description: str) -> None:
        self.evicted_for = f"{condition} {description}"
        self.groups.leave(SEAT, self)


def test_five_readers_share_a_partition_and_the_sixth_waits() -> None:
    groups = ConsumerGroups()
    readers = [Someone(groups) for _ in range(MAX_READERS)]
    for reader in readers:
        groups.join(SEAT, reader)

    with pytest.raises(LinkRefused) as refused:
        groups.join(SEAT, Someone(groups))
    assert refused.value.condition == RESOURCE_LIMIT_EXCEEDED
    groups.join(Seat(1, "other", 0), Someone(groups))
    groups.leave(SEAT, readers[0])
    groups.join(SEAT, Someone(groups))


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_higher_or_equal_epoch_turns_the_others_out(epoch: int) -> None:
    groups = ConsumerGroups()
    before = Someone(groups, epoch=1)
    groups.join(SEAT, before)

    groups.join(SEAT, Someone(groups, epoch=epoch))

    assert before.evicted_for.startswith(LINK_STOLEN)
    assert groups.reader_count == 1


def test_an_epoch_turns_readers_without_one_out() -> None:
    groups = ConsumerGroups()
    sharing = [Someone(groups), Someone(groups)]
    for reader in sharing:
        groups.join(SEAT, reader)

    groups.join(SEAT, Someone(groups, epoch=0))

    assert all(reader.evicted_for for reader in sharing)


@pytest.mark.parametrize("epoch", [None, 1])
def test_a_lower_epoch_or_none_does_not_get_in(epoch: int | None) -> None:
    groups = ConsumerGroups()
    holder = Someone(groups, epoch=2)
    groups.join(SEAT, holder)

    with pytest.raises(LinkRefused) as refused:
        groups.join(SEAT, Someone(groups, epoch=epoch))
    assert refused.value.condition == LINK_STOLEN
    assert not holder.evicted_for
