"""A service as a child process: what it says, and how it ends."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from stand_in.errors import ServiceFailed
from stand_in.service_process import ServiceProcess

READY = 'print(\'{"service": "x", "port": 1, "pid": 2}\', flush=True)\n'
Start = Callable[[str], Awaitable[ServiceProcess]]


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
async def start(tmp_path: Path, warnings: list[str]) -> AsyncIterator[Start]:
    started: list[ServiceProcess] = []

    async def start_code(code: str) -> ServiceProcess:
        process = await ServiceProcess.start(
            "x",
            ["-c", "import os, sys, time\n" + code],
            environment=os.environ,
            log=tmp_path / "x.log",
            keep_open=[],
            warn=warnings.append,
        )
        started.append(process)
        return process

    yield start_code
    for process in started:
        await process.stop(0)


async def test_it_is_ready_when_it_says_so_whatever_else_it_prints(start: Start):
    process = await start("print('{}'); print('{broken'); print('[1]'); print('words')\n" + READY + "time.sleep(60)")
    await process.ready(10)
    assert not process.has_ended


async def test_one_that_stays_silent_is_not_ready(start: Start):
    process = await start("print('working on it', file=sys.stderr, flush=True); time.sleep(60)")
    with pytest.raises(ServiceFailed, match=r"(?s)x was not ready after 1 s.*working on it"):
        await process.ready(1)


async def test_one_that_ends_is_not_ready(start: Start):
    process = await start("sys.exit('no licence')")
    with pytest.raises(ServiceFailed, match=r"(?s)x ended \(exit code 1\) while starting.*no licence"):
        await process.ready(10)


async def test_a_line_is_one_line_however_it_arrives(start: Start, warnings: list[str], tmp_path: Path):
    """A log line may come in pieces, be longer than any buffer, or lack its end when the process dies."""
    process = await start(
        "write = lambda data: (sys.stderr.buffer.write(data), sys.stderr.flush(), time.sleep(0.05))\n"
        "write(b'2026-01-01 10:00:00 WARN'); write(b'ING x: in pieces \\xe2\\x82'); write(b'\\xac\\n')\n"
        "write(b'2026-01-01 10:00:00 ERROR x: ' + b'l' * 300_000 + b'\\n')\n"
        "write(b'2026-01-01 10:00:00 INFO x: quiet\\n  still quiet\\n')\n"
        "write(b'2026-01-01 10:00:00 ERROR x: last')"
    )
    await process.ended()
    assert warnings == [
        "[x] 2026-01-01 10:00:00 WARNING x: in pieces €",
        "[x] 2026-01-01 10:00:00 ERROR x: " + "l" * 300_000,
        "[x] 2026-01-01 10:00:00 ERROR x: last",
    ]
    assert "still quiet" in (tmp_path / "x.log").read_text()


async def test_one_that_ignores_the_request_to_stop_is_killed(start: Start):
    process = await start("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY + "time.sleep(60)")
    await process.ready(10)
    assert await process.stop(0.2) is False
    assert process.ending() == "killed by SIGKILL"
    assert await process.stop(0.2) is True  # it has ended: nothing is left to do


async def test_a_long_log_is_put_aside_at_the_next_start(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("stand_in.service_process.LOG_LIMIT_BYTES", 10)
    for text in ("the first run", "the second run"):
        await (await start(f"print('{text}')")).ended()
    assert (tmp_path / "x.log").read_text() == "the second run\n"
    assert (tmp_path / "x.log.1").read_text() == "the first run\n"
