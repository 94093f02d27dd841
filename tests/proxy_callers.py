"""Callers of the proxy, and an operator who looks at what they leave: records, reconciliation, the emulator's view."""

import asyncio
import contextlib
import io
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from adapters.event_hub_reader import EventHubReader
from tests.chaos.operator import until
from tests.conftest import deployed_copy
from tests.running_stack import ROOT, RunningStack

KEYS = {
    "full": "key-of-the-full-log-0123",
    "hashed": "key-of-the-hashed-log-45",
    "none": "key-of-the-silent-log-67",
    "few": "key-of-the-few-fields-89",
}
PROXY_KEYS = json.dumps(
    {
        "full": KEYS["full"],
        "hashed": {"key": KEYS["hashed"], "log": "hashed"},
        "none": {"key": KEYS["none"], "log": "none"},
        "few": {"key": KEYS["few"], "fields": ["usage", "latency_ms", "prompt"]},
    }
)
MODEL_PRICES = json.dumps({"gpt-4o-mini": {"prompt": 0.15, "completion": 0.6}})
LARGEST_BODY = 1_000_000
CHAT = "/openai/deployments/zero/chat/completions?api-version=2024-10-21"
JSON = {"Content-Type": "application/json"}


@contextmanager
def running_proxy(folder: Path) -> Iterator[RunningStack]:
    """A stack whose proxy has the keys above."""
    environment = {
        "PROXY_KEYS": PROXY_KEYS,
        "PROXY_MAX_BODY_BYTES": str(LARGEST_BODY),
    }
    with RunningStack(deployed_copy(folder / "app"), folder / "state", environment=environment) as stack:
        stack.wait_ready()
        yield stack


def chat(prompt: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}], **more}


class ProxyCallers:
    """Calls at one stack's proxy, and what becomes of them."""

    def __init__(self, stack: RunningStack, http: aiohttp.ClientSession) -> None:
        self.stack = stack
        self.http = http

    async def call(
        self, body: Any, path: str = CHAT, *, key: str | None = KEYS["full"], method: str = "POST", **headers: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        """One call as the wire has it; the path goes as it stands here, a body of bytes too."""
        sent = JSON | ({"api-key": key} if key else {}) | headers
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = URL(self.stack.url + path, encoded=True)
        # aiohttp warns of large bytes, not of a file.
        async with self.http.request(method, url, data=io.BytesIO(data), headers=sent) as answer:
            return answer.status, answer.headers, await answer.read()

    @asynccontextmanager
    async def stream(self, prompt: str, path: str = CHAT) -> AsyncIterator[aiohttp.ClientResponse]:
        """A stream whose answer has begun; leaving early closes the connection."""
        async with self.http.post(
            self.stack.url + path, json=chat(prompt, stream=True), headers={"api-key": KEYS["full"]}
        ) as answer:
            assert answer.status == 200
            yield answer

    async def upstream(self, *, bodies: bool = False) -> list[dict[str, Any]]:
        """What the model service saw, oldest first."""
        async with self.http.get(f"{self.stack.address('model')}/_admin/requests?bodies={int(bodies)}") as answer:
            found: list[dict[str, Any]] = (await answer.json())["requests"]
            return found

    async def forget_upstream(self) -> None:
        async with self.http.post(f"{self.stack.address('model')}/_admin/reset") as answer:
            assert answer.status == 200

    async def upstream_when(self, holds: Callable[[list[dict[str, Any]]], bool], what: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []

        async def look() -> bool:
            found[:] = await self.upstream()
            return holds(found)

        await until(look, what)
        return found

    async def records(self) -> list[dict[str, Any]]:
        """All that are in the hub, with their message ids as `_id`."""
        settings = self.stack.settings
        reader = EventHubReader.from_connection_string(
            settings["AZURE_EVENTHUB_CONN_STR"], settings["AZURE_EVENTHUB_NAME"]
        )
        async with reader:
            return [
                json.loads(logged.body) | {"_id": logged.message_id}
                async for logged in reader.records(None, follow=False)
            ]

    async def records_when(
        self, of: Callable[[dict[str, Any]], bool], count: int = 1, seconds: float = 60
    ) -> list[dict[str, Any]]:
        """The records that are meant, when there are so many."""
        found: list[dict[str, Any]] = []

        async def look() -> bool:
            found[:] = [record for record in await self.records() if of(record)]
            return len(found) >= count

        await until(look, f"{count} records", seconds)
        return found

    async def record_of(self, words: str, seconds: float = 60) -> dict[str, Any]:
        """The one record of the call whose prompt has these words."""
        (record,) = await self.records_when(lambda record: words in json.dumps(record.get("prompt")), 1, seconds)
        return record

    async def sweep(self) -> None:
        """Start the sweeper now, rather than at the next five minutes."""
        url = f"{self.stack.url}/admin/functions/sweep_calls"
        async with self.http.post(url, json={"input": ""}) as answer:
            assert answer.status == 202

    async def operate(self, *arguments: str) -> tuple[int, str]:
        """`python -m operations` as an operator types it: exit code and what it says."""
        return await asyncio.to_thread(self._operate, *arguments)

    def _operate(self, *arguments: str) -> tuple[int, str]:
        asked = subprocess.run(
            [sys.executable, "-m", "operations", *arguments],
            env={**os.environ, **self.stack.settings, "MODEL_PRICES": MODEL_PRICES},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        return asked.returncode, asked.stdout + asked.stderr

    async def reconciled(self) -> tuple[int, dict[str, Any]]:
        code, said = await self.operate("reconcile", "--json")
        assert code in (0, 1), said
        return code, json.loads(said)

    async def all_logged(self) -> dict[str, Any]:
        """The reconciliation, when no call waits for its record any more."""
        found: dict[str, Any] = {}

        async def look() -> bool:
            found.update((await self.reconciled())[1])
            return not found["waiting"]

        await until(look, "nothing waits for its record")
        return found

    def lose_record(self, message_id: str) -> int:
        """Take a record out of the hub's storage; how many events that were."""
        (path,) = (self.stack.state_dir / "eventHubs").glob("*.sqlite*3")
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as log, log:
            return log.execute("DELETE FROM events WHERE instr(tail, ?) > 0", (message_id.encode(),)).rowcount


@asynccontextmanager
async def callers_of(stack: RunningStack) -> AsyncIterator[ProxyCallers]:
    async with aiohttp.ClientSession() as http:
        yield ProxyCallers(stack, http)
