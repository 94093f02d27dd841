"""The Azure OpenAI emulator inside a test: started on a free port, asked about what it saw."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from stand_in.azure_openai.access import EMULATOR_KEY
from stand_in.azure_openai.server import start_server

DEADLINE_SECONDS = 10.0


class ModelEmulator:
    """Its address and its admin door."""

    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.key = EMULATOR_KEY
        self._session = session

    async def requests(self, *, bodies: bool = False) -> list[dict[str, Any]]:
        async with self._session.get(f"{self.url}/_admin/requests?bodies={int(bodies)}") as response:
            requests: list[dict[str, Any]] = (await response.json())["requests"]
            return requests

    async def last_request_when(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The last request, as soon as the condition holds for it."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            # The emulator is asked over HTTP: there is no event to wait for.
            while not (seen := await self.requests()) or not condition(seen[-1]):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return seen[-1]

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
        """A bare call: status and JSON body."""
        async with self._session.post(self.url + path, json=body, headers=headers) as response:
            return response.status, await response.json()

    async def get(self, path: str, **headers: str) -> tuple[int, dict[str, Any]]:
        async with self._session.get(self.url + path, headers=headers) as response:
            return response.status, await response.json()

    async def ask(self, prompt: str, **more: Any) -> tuple[int, dict[str, Any]]:
        """A bare completion that is not streamed, by the deployment without pacing."""
        body = {"model": "zero", "messages": [{"role": "user", "content": prompt}], **more}
        return await self.post("/openai/v1/chat/completions", body, **{"api-key": self.key})


@asynccontextmanager
async def running_emulator(state_dir: Path) -> AsyncIterator[ModelEmulator]:
    server = await start_server(port=0, state_dir=state_dir)
    try:
        async with aiohttp.ClientSession() as session:
            yield ModelEmulator(server.port, session)
    finally:
        await server.stop()
