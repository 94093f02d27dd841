"""What the engine needs from the host: the durable functions of one app, called by their durable names.

The engine hands over the JSON text that the real extension would put into the trigger and gets back the JSON text that
the real worker would return. How a function is found, bound, and run (thread or loop) is the host's business.
"""

from collections.abc import Collection
from typing import Protocol


class FunctionFailed(Exception):
    """This happened: user code raised, or its result could not be encoded.

    `text` is what the worker reports to the extension: `Result: Failure\\nException: <Type>: <message>\\nStack: ...`.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class AppFunctions(Protocol):
    """The durable functions of one app. Names are compared as the extension does (ignoring case)."""

    @property
    def orchestrators(self) -> Collection[str]: ...

    @property
    def activities(self) -> Collection[str]: ...

    @property
    def entities(self) -> Collection[str]: ...

    async def call_orchestrator(self, name: str, trigger_body: str) -> str:
        """Run one episode: the trigger body (JSON text) in, the SDK's state (JSON text) out. Raises FunctionFailed."""

    async def call_activity(self, name: str, instance_id: str, trigger_input: str) -> str:
        """Run one activity: its input (JSON text) in, its result (JSON text) out. Raises FunctionFailed."""

    async def call_entity(self, name: str, trigger_body: str) -> str:
        """Run one batch of entity operations: JSON text in, the SDK's batch result out. Raises FunctionFailed."""
