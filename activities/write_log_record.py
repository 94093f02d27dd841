"""write_log_record: one record to Event Hubs for one ended turn."""

from adapters import clients
from chat.turn_logging import TurnLogging


async def write_log_record(request: dict) -> bool:  # type: ignore[type-arg]
    """The activity. `request` is {"turnId", "try"}, tries from 0; True when the record is with Event Hubs."""
    with_prompts = clients.settings().log_prompts
    logging = TurnLogging(clients.journal, clients.event_log, clients.clock, with_prompts=with_prompts)
    return await logging.deliver(request["turnId"], again=request.get("try", 1) > 0)
