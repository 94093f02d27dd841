"""The durable extension in the host: the engine, its management API, and the endpoint that durable clients talk to."""

from pathlib import Path

from stand_in.host.asgi import Receive, Scope, Send, respond
from stand_in.host.durable_functions import DurableFunctions
from stand_in.host.errors import BindingFailed
from stand_in.host.host_json import HostJson
from stand_in.host.keys import Keys


class DurableService:
    """Placeholder until the engine is wired in."""

    def __init__(self, host_json: HostJson, keys: Keys, state_dir: Path, host_port: int) -> None:
        self._host_json = host_json

    async def start(self, functions: DurableFunctions) -> None:
        return

    async def stop(self) -> None:
        return

    async def webhook(self, scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, 404)

    def client_binding(self, hub: str | None, connection: str | None) -> str:
        raise BindingFailed("no engine")
