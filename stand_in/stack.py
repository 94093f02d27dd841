"""The stack: every service as a process of its own, started, watched, restarted and stopped together.

The rules:
- Nothing is started before the settings are read, the state folder is locked and all ports are known to be free.
- All services start at once: each is told the others' addresses beforehand, and none needs them to start.
- A service that dies is started again, on the same port and state. One that dies `DEATHS_TOO_MANY` times within
  `DEATHS_WINDOW_SECONDS` stops the stack: it would hardly live the next time; unless somebody kills on purpose. One
  that never became ready stops it too.
- The host is stopped first, while everything its functions talk to is still there.
- No service outlives the stack, whatever becomes of the supervisor.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stand_in.config import HOST, Plan, Service
from stand_in.errors import ServiceFailed, ServiceKeepsDying
from stand_in.service_process import ServiceProcess
from stand_in.state_folder import StackStatus, StateFolder

START_SECONDS = 60.0  # a slow laptop that imports a large app for the first time
HOST_STOP_SECONDS = 12.0  # the host gives running invocations 10 s, as the real one does
EMULATOR_STOP_SECONDS = 5.0
STOP_SECONDS = HOST_STOP_SECONDS + EMULATOR_STOP_SECONDS + 3.0  # whoever stops a stack should wait this long
DEATHS_TOO_MANY = 5
DEATHS_WINDOW_SECONDS = 60.0
# Before the n-th restart within the window: at once for a kill, slower for a service that cannot live.
RESTART_DELAYS = (0.0, 0.0, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class StackOptions:
    """How a stack is run."""

    app: Path
    restart: bool = True
    keep_restarting: bool = False  # at once, however often a service dies
    host_arguments: Sequence[str] = ()


@dataclass(slots=True)
class _Watched:
    """A service of the plan with its present process."""

    service: Service
    process: ServiceProcess | None = None
    ready: bool = False
    deaths: deque[float] = field(default_factory=deque)


class Stack:
    """The running services of one app. `say` tells people what happens."""

    def __init__(
        self,
        services: Sequence[Service],
        plan: Plan,
        options: StackOptions,
        folder: StateFolder,
        lock: int,
        environment: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        self._watched = {service.key: _Watched(service) for service in services if service.key in plan.ports}
        self._plan = plan
        self._options = options
        self._folder = folder
        self._lock = lock
        self._environment = environment
        self._say = say
        self._width = max(len(watched.service.title) for watched in self._watched.values())

    async def run(self, stopped: asyncio.Event) -> None:
        """Start everything and keep it running until `stopped` is set; then stop it.

        Raises ServiceFailed when a service does not start, ServiceKeepsDying when one cannot be kept alive; everything
        is stopped then, too.
        """
        stop = asyncio.create_task(stopped.wait())
        work = asyncio.create_task(self._start_and_watch())
        try:
            await asyncio.wait({stop, work}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            work.cancel()
            self._publish(ready=False)
            await asyncio.gather(work, return_exceptions=True)
            await self._stop()
            self._folder.remove_status()
        if not work.cancelled():
            work.result()

    def kill(self) -> None:
        """Do not wait for anything: every service that still runs ends now. `run` returns soon after."""
        for watched in self._watched.values():
            if watched.process is not None and not watched.process.has_ended:
                watched.process.kill()

    async def _start_and_watch(self) -> None:
        self._publish(ready=False)
        await _all_or_first_failure(self._start(watched) for watched in self._watched.values())
        self._publish()
        self._say(f"ready: {self._front()}")
        await _all_or_first_failure(self._watch(watched) for watched in self._watched.values())

    def _front(self) -> str:
        """The address people open."""
        host = self._watched.get(HOST)
        return self._plan.address(host.service) + "/" if host is not None else "(no host)"

    async def _start(self, watched: _Watched) -> None:
        service, begun = watched.service, time.monotonic()
        watched.process = await ServiceProcess.start(
            service.key,
            self._arguments(service),
            environment=self._environment_of(service),
            log=self._folder.log_of(service.key),
            keep_open=[self._lock],
            warn=self._say,
        )
        self._publish()
        await watched.process.ready(START_SECONDS)
        watched.ready = True
        self._publish()
        seconds = time.monotonic() - begun
        self._say(f"  {service.title:<{self._width}}  {self._plan.address(service)}  up after {seconds:.1f} s")

    def _arguments(self, service: Service) -> list[str]:
        port, state = str(self._plan.ports[service.key]), str(self._folder.of(service.key))
        arguments = ["-m", service.module, "--port", port, "--state-dir", state]
        if service.key == HOST:
            arguments += ["--app", str(self._options.app), *self._options.host_arguments]
        return arguments

    def _environment_of(self, service: Service) -> Mapping[str, str]:
        """The app's settings are the host's; an emulator has no business with them."""
        return {**self._environment, **self._plan.settings} if service.key == HOST else self._environment

    async def _watch(self, watched: _Watched) -> None:
        """Restart the service whenever it dies."""
        key = watched.service.key
        while True:
            assert watched.process is not None
            await watched.process.ended()
            watched.ready = False
            self._publish()
            ending = watched.process.ending()
            if not self._options.restart:
                self._say(f"{key} died ({ending}); it stays down (--no-restart), log: {self._folder.log_of(key)}")
                return
            delay = self._delay_after_death(watched, ending)
            self._say(f"{key} died ({ending}); starting it again, log: {self._folder.log_of(key)}")
            await asyncio.sleep(delay)
            try:
                await self._start(watched)
            except ServiceFailed as error:
                self._say(str(error))
                await watched.process.stop(EMULATOR_STOP_SECONDS)  # silent, but perhaps alive

    def _delay_after_death(self, watched: _Watched, ending: str) -> float:
        if self._options.keep_restarting:
            return 0.0
        now = time.monotonic()
        deaths = watched.deaths
        deaths.append(now)
        while deaths[0] < now - DEATHS_WINDOW_SECONDS:
            deaths.popleft()
        if len(deaths) >= DEATHS_TOO_MANY:
            raise ServiceKeepsDying(
                f"{watched.service.key} died {len(deaths)} times within {DEATHS_WINDOW_SECONDS:.0f} s, the last time "
                f"with {ending}: stopping everything. Its log: {self._folder.log_of(watched.service.key)}"
            )
        return RESTART_DELAYS[len(deaths) - 1]

    def _publish(self, *, ready: bool | None = None) -> None:
        """Write down how things stand, for `status`."""
        all_ready = all(watched.ready for watched in self._watched.values())
        self._folder.write_status(
            StackStatus(
                ready=all_ready if ready is None else ready,
                pid=os.getpid(),
                addresses={key: self._plan.address(watched.service) for key, watched in self._watched.items()},
                processes={
                    key: watched.process.pid
                    for key, watched in self._watched.items()
                    if watched.process is not None and not watched.process.has_ended
                },
                ports=self._plan.ports,
                settings=self._plan.settings,
                configured=self._plan.configured,
                app=str(self._options.app),
                logs=str(self._folder.logs),
            )
        )

    async def _stop(self) -> None:
        processes = {key: watched.process for key, watched in self._watched.items() if watched.process is not None}
        host = processes.pop(HOST, None)
        if host is not None and not await host.stop(HOST_STOP_SECONDS):
            self._say(f"{HOST} did not stop within {HOST_STOP_SECONDS:.0f} s and was killed")
        stops = [process.stop(EMULATOR_STOP_SECONDS) for process in processes.values()]
        for key, polite in zip(processes, await asyncio.gather(*stops), strict=True):
            if not polite:
                self._say(f"{key} did not stop within {EMULATOR_STOP_SECONDS:.0f} s and was killed")


async def _all_or_first_failure(work: Iterable[Coroutine[object, object, None]]) -> None:
    """Wait for all of it; the first failure cancels the rest and is raised as it is (a TaskGroup would wrap it)."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
