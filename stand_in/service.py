"""How a service of the stand-in becomes a process of its own.

Every service package has a `server.py` with an async `start_server(*, port, state_dir)` that returns a `Server`, and a
`__main__.py` that hands it to `run_service`. The process prints one JSON line when it accepts connections
(`{"service": ..., "port": ..., "pid": ...}`), serves until SIGTERM or SIGINT, and stops politely. What it was asked to
keep lies under `state_dir`, a folder of its own.

A service never outlives the supervisor that started it, even one killed with SIGKILL: the supervisor holds the write
end of the service's standard input, the kernel closes it with the supervisor, and the end of input stops the service.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from stand_in import crash_points

# Set by the supervisor for its children. Opt-in: started by anyone else, standard input may be at its end at once.
STOP_WITH_INPUT = "STAND_IN_STOP_WITH_INPUT"
ORPHAN_GRACE_SECONDS = 5.0  # a polite stop gets this long once nobody is left to wait for it


class Server(Protocol):
    """A running service."""

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1 that accepts connections; the chosen one when it was started with 0."""

    async def stop(self) -> None:
        """Close listeners and connections, flush, and return when nothing is left open."""


# Starts a service: `await start(port=..., state_dir=...)`, and what `add_arguments` added. OSError: the port is taken.
StartServer = Callable[..., Awaitable[Server]]


def run_service(
    name: str,
    start_server: StartServer,
    *,
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> None:
    """Be the process of one service: parse the command line, serve, stop on SIGTERM or SIGINT.

    Arguments that `add_arguments` adds are handed to `start_server` under their names.
    """
    parser = argparse.ArgumentParser(prog=f"python -m stand_in.{name}", description=f"The stand-in's {name} service.")
    parser.add_argument("--port", type=int, default=0, help="TCP port on 127.0.0.1 (default: a free one)")
    parser.add_argument(
        "--state-dir", type=Path, required=True, help="the folder in which this service keeps its state"
    )
    if add_arguments is not None:
        add_arguments(parser)
    arguments = vars(parser.parse_args())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    arguments["state_dir"].mkdir(parents=True, exist_ok=True)
    crash_points.watch(arguments["state_dir"])
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        is_orphan = runner.run(_serve(name, start_server, arguments))
    if is_orphan:
        _end_group()


async def _serve(name: str, start_server: StartServer, arguments: dict[str, Any]) -> bool:
    """Serve until told to stop; whether it was the supervisor's end that told so."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stopped.set)
    input_ended = stop_with_input(lambda: loop.call_soon_threadsafe(stopped.set))
    server = await start_server(**arguments)
    sys.stdout.write(json.dumps({"service": name, "port": server.port, "pid": os.getpid()}) + "\n")
    sys.stdout.flush()
    await stopped.wait()
    await server.stop()
    return input_ended.is_set()


def stop_with_input(stop: Callable[[], object], grace: float = ORPHAN_GRACE_SECONDS) -> threading.Event:
    """If whoever started this process wants it so, call `stop` (from a thread) when standard input ends.

    A process that has not ended `grace` seconds later ends itself: its event loop may be blocked by user code, and its
    port and files are wanted by the next stack. Processes started by this one do not inherit the wish. The event is set
    when standard input has ended.
    """
    ended = threading.Event()
    if os.environ.pop(STOP_WITH_INPUT, None) != "1":
        return ended

    def wait_for_the_end() -> None:
        while os.read(0, 1024):  # unbuffered: a thread inside sys.stdin would hold its lock at interpreter exit
            pass
        ended.set()
        try:
            stop()
        except RuntimeError:  # the event loop has closed: the process is stopping already
            logging.getLogger(__name__).debug("The supervisor ended while this service was stopping.")
        time.sleep(grace)
        _end_group()
        os._exit(1)

    threading.Thread(target=wait_for_the_end, name="stop-with-input", daemon=True).start()
    return ended


def _end_group() -> None:
    """End this process with all that it has started, as its supervisor would have done; everything is stored by now."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
