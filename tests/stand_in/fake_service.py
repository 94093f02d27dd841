"""A service of the stack reduced to what the supervisor can see of one: a port, a ready line, a log, and state.

What it is to do wrong is in the environment, by the name of its state folder: `FAKE_<KEY>=dies|deaf`.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from stand_in.service import run_service


class FakeServer:
    def __init__(self, server: asyncio.Server, state_dir: Path, fault: str) -> None:
        self._server = server
        self._state_dir = state_dir
        self._fault = fault

    @property
    def port(self) -> int:
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        self._server.close()
        if self._fault == "deaf":
            await asyncio.sleep(3600)
        with (self._state_dir.parent / "stops").open("a") as stops:
            stops.write(f"{self._state_dir.name}\n")


async def start_server(*, port: int, state_dir: Path) -> FakeServer:
    fault = os.environ.get(f"FAKE_{state_dir.name.upper()}", "")
    if fault == "dies":
        raise SystemExit(f"{state_dir.name} cannot live")
    with (state_dir / "starts").open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    (state_dir / "environment.json").write_text(json.dumps(dict(os.environ)))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    sys.stdout.write('what an app may print\n{"service": "in words"}\n{no JSON\n')
    sys.stderr.write("2026-01-01 00:00:00,000 INFO fake: quiet\n2026-01-01 00:00:00,000 WARNING fake: loud\n  more\n")
    return FakeServer(server, state_dir, fault)


if __name__ == "__main__":
    if "--app" in sys.argv:  # the host's own option
        parser = argparse.ArgumentParser()
        parser.add_argument("--app")
        known, rest = parser.parse_known_args()
        sys.argv[1:] = rest
        # A worker of its own, in its process group, which knows nothing of the supervisor and ignores SIGTERM.
        worker = [sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"]
        child = subprocess.Popen(worker, stdin=subprocess.DEVNULL)
        state = Path(rest[rest.index("--state-dir") + 1])
        state.mkdir(parents=True, exist_ok=True)
        (state / "worker").write_text(str(child.pid))
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    run_service("fake", start_server)
