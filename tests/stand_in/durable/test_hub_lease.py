"""One host at a time works on a task hub; what a former one still brings counts only where late results do."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import azure.durable_functions as df
import pytest
from azure.durable_functions import DurableOrchestrationContext as Context

from stand_in.durable.engine import DurableEngine
from stand_in.durable.errors import TaskHubTaken
from stand_in.durable.history import HistoryEvent
from stand_in.durable.hub_lease import HubLease
from stand_in.durable.options import DurableOptions
from stand_in.durable.work_items import ActivityTask
from tests.stand_in.durable.conftest import ended, until
from tests.stand_in.durable.loaded_app import LoadedApp

LEASE = 10.0
NewLease = Callable[[int], HubLease]


class World:
    """A clock, and which processes live."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.living = {1, 2, 3}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def new_lease(tmp_path: Path, world: World) -> NewLease:
    def new(pid: int) -> HubLease:
        address = f"http://127.0.0.1:{pid}"
        return HubLease(
            tmp_path / "hub.db", address, LEASE, now=lambda: world.now, pid=pid, lives=world.living.__contains__
        )

    return new


def test_a_hub_is_one_hosts_until_its_lease_expires(world: World, new_lease: NewLease):
    first, second = new_lease(1), new_lease(2)
    assert first.take()
    assert not second.take()
    world.now += LEASE - 1
    assert first.renew()
    world.now += LEASE - 1
    assert first.is_fresh
    assert not second.take()
    world.now += 1
    assert not first.is_fresh
    assert second.take()
    assert not first.renew()
    assert not first.take()
    owner = first.owner()
    assert owner is not None
    assert (owner.pid, owner.address) == (2, "http://127.0.0.1:2")


def test_an_owner_that_was_merely_slow_keeps_its_hub(world: World, new_lease: NewLease):
    first = new_lease(1)
    assert first.take()
    world.now += 5 * LEASE
    assert first.renew()
    assert not new_lease(2).take()


def test_a_dead_owner_is_not_waited_for(world: World, new_lease: NewLease):
    assert new_lease(1).take()
    world.living.remove(1)
    assert new_lease(2).take()


def test_who_has_the_process_id_of_a_former_owner_is_not_that_owner(new_lease: NewLease):
    """A container that starts again gives its processes the same ids."""
    former = new_lease(1)
    assert former.take()
    assert new_lease(1).take()
    assert not former.renew()


def test_a_polite_owner_leaves_the_hub_at_once(new_lease: NewLease):
    first = new_lease(1)
    assert first.take()
    first.close()
    assert new_lease(2).take()


class TwoHosts:
    """The engines of two hosts on one database, and an activity whose runs end when they are told to."""

    def __init__(self, folder: Path, new_lease: NewLease, *, deliver_late_results: bool) -> None:
        self.database = folder / "hub.db"
        self.leases = [new_lease(1), new_lease(2)]
        self.options = DurableOptions(deliver_late_results=deliver_late_results)
        self.engines: list[DurableEngine] = []
        self.ends: list[asyncio.Event] = []
        self.late: list[tuple[ActivityTask, HistoryEvent]] = []
        app = df.DFApp()

        @app.orchestration_trigger(context_name="context")
        def two_steps(context: Context):
            first = yield context.call_activity("step", None)
            second = yield context.call_activity("step", None)
            return [first, second]

        @app.activity_trigger(input_name="nothing")
        async def step(nothing: None) -> int:
            number, end = len(self.ends) + 1, asyncio.Event()
            self.ends.append(end)
            await end.wait()
            return number

        self.functions = LoadedApp(app)

    async def work(self, host: int) -> DurableEngine:
        """Let this host take the hub and go on with what is there."""
        assert self.leases[host].take()
        engine = DurableEngine(
            self.database, self.functions, self.options, owner=self.leases[host].token, hand_over=self._hand_over
        )
        await engine.start()
        self.engines.append(engine)
        return engine

    async def _hand_over(self, task: ActivityTask, event: HistoryEvent) -> None:
        self.late.append((task, event))

    async def begun(self, count: int) -> None:
        async def are_begun() -> bool:
            return len(self.ends) >= count

        await until(are_begun, f"{count} runs began")

    async def close(self) -> None:
        for end in self.ends:
            end.set()
        for engine in self.engines:
            await engine.stop(patience=1)
        self.functions.close()


@pytest.fixture
async def hosts(tmp_path: Path, new_lease: NewLease) -> AsyncIterator[TwoHosts]:
    hosts = TwoHosts(tmp_path, new_lease, deliver_late_results=True)
    yield hosts
    await hosts.close()


async def taken_over(hosts: TwoHosts, world: World) -> tuple[DurableEngine, DurableEngine]:
    """The first host runs an activity, is silent for too long, and the second runs it again."""
    first = await hosts.work(0)
    await first.start_instance("two_steps", instance_id="one")
    await hosts.begun(1)
    world.now += LEASE
    second = await hosts.work(1)
    await hosts.begun(2)
    return first, second


async def test_a_former_owner_stores_nothing_more(hosts: TwoHosts, world: World):
    first, second = await taken_over(hosts, world)
    with pytest.raises(TaskHubTaken):
        await first.start_instance("two_steps", instance_id="lost")
    assert await second.status("lost") is None
    hosts.ends[1].set()
    await hosts.begun(3)
    hosts.ends[2].set()
    assert (await ended(second, "one")).output == "[2,3]"


async def test_a_late_result_is_brought_to_the_owner_and_counts_if_it_is_the_first(hosts: TwoHosts, world: World):
    first, second = await taken_over(hosts, world)
    first.retire()
    hosts.ends[0].set()

    async def is_late() -> bool:
        return len(hosts.late) == 1

    await until(is_late, "the former owner's run has ended")
    assert await second.take_late_result(*hosts.late[0])
    await hosts.begun(3)
    hosts.ends[1].set()  # the second host's own run of the same task: dropped
    hosts.ends[2].set()
    assert (await ended(second, "one")).output == "[1,3]"
    assert not await second.take_late_result(*hosts.late[0]), "the same result once more means nothing"


async def test_a_late_result_is_dropped_where_they_do_not_count(tmp_path: Path, new_lease: NewLease, world: World):
    hosts = TwoHosts(tmp_path, new_lease, deliver_late_results=False)
    _, second = await taken_over(hosts, world)
    hosts.ends[0].set()
    hosts.ends[1].set()
    await hosts.begun(3)
    hosts.ends[2].set()
    assert (await ended(second, "one")).output == "[2,3]"
    assert hosts.late == []
    await hosts.close()
