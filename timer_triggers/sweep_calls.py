"""sweep_calls: deliver the records of proxied calls whose worker died, or whose record Event Hubs did not take."""

import azure.functions as func

from adapters import clients
from chat.call_logging import CallSweeper


async def sweep_calls(timer: func.TimerRequest) -> None:
    """The timer function."""
    await CallSweeper(clients.call_store(), clients.event_log).sweep()
