"""The `durableClient` input: the JSON text from which the SDK builds its client."""

from collections.abc import Callable, Mapping
from typing import Any

from stand_in.host import conversion
from stand_in.host.expressions import CallData, resolve
from stand_in.host.function import Binding

# Task hub and connection as the binding names them (None for the app's own) -> the binding's JSON text.
ClientBinding = Callable[[str | None, str | None], str]


class DurableClientInput:
    """Hands out the client's JSON. `taskHub` may hold expressions; `connectionName` is the name of a setting."""

    def __init__(self, client_binding: ClientBinding, settings: Mapping[str, str]) -> None:
        self._client_binding = client_binding
        self._settings = settings

    async def read(self, binding: Binding, call: CallData) -> Any:
        hub = binding.get("taskHub")
        if hub:
            hub = resolve(str(hub), self._settings, call)
        return conversion.datum(self._client_binding(hub or None, binding.get("connectionName")), "string")
