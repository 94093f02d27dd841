"""Stop over HTTP: an answer ends because its user asked for it, and what was shown of it stays."""

import logging

from azure.durable_functions import DurableOrchestrationClient
from azurefunctions.extensions.http.fastapi import Request, Response

from adapters import clients
from adapters.durable import DurableInstances
from chat.acceptance import Acceptance, TurnRejected
from chat.records import Begin
from chat.stopping import Stopping
from chat.turn import TurnStatus
from chat.turn_view import status_of
from http_triggers.answers import answer, answers_errors
from http_triggers.caller import check_origin
from http_triggers.json_body import check_nothing_asked
from http_triggers.turns import own_journal

logger = logging.getLogger(__name__)


@answers_errors
async def stop_turn(req: Request, client: DurableOrchestrationClient) -> Response:
    """POST api/turns/{turn_id}/stop: 200 with the status of the stopped turn; 409 with it when the turn had ended
    otherwise; 202 when the stop is stored and its end is still to come."""
    check_origin(req, clients.settings())
    await check_nothing_asked(req)
    fold = await own_journal(req)
    await stopping(client).stop(fold)
    status = status_of(fold)
    if fold.end is None:
        return answer(status, 202, {"Retry-After": "1"})
    if fold.end.status == TurnStatus.STOPPED:
        return answer(status)
    message = f"There is nothing to stop: this turn has ended ({fold.end.status})."
    return answer({"error": {"code": "turn_ended", "message": message}, "turn": status}, 409)


def stopping(client: DurableOrchestrationClient) -> Stopping:
    """The app's own."""
    store, instances = clients.journal(), DurableInstances(client)

    async def resume(begin: Begin) -> None:
        try:
            await Acceptance(store, instances, clients.clock).resume(begin)
        except TurnRejected:
            logger.info("A turn that was to be stopped had been rejected.", extra={"turn_id": begin.turn_id})

    return Stopping(store, instances, clients.clock, resume, clients.bells)
