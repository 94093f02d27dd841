"""The line of sends: where the deliveries of one process wait until the budget lets them go."""

import asyncio
from dataclasses import dataclass

from chat.pace import Place, SendBudget, Urgency


@dataclass(frozen=True, slots=True)
class Ticket:
    """A place in the line, and the news that it is its turn."""

    place: Place
    called: asyncio.Future[None]


class SendLine:
    """One for a process. `per_second` is what the service allows it; 0 is no limit."""

    def __init__(self, per_second: int = 0) -> None:
        self._budget = SendBudget(per_second)
        self._tickets: dict[Place, Ticket] = {}
        self._timer: asyncio.TimerHandle | None = None

    def enter(self, urgency: Urgency) -> Ticket:
        """Stand in line. The ticket is to be given back with `leave`, called or not, when its send is over."""
        loop = asyncio.get_running_loop()
        place = self._budget.enter(urgency, loop.time())
        ticket = self._tickets[place] = Ticket(place, loop.create_future())
        self._call()
        return ticket

    def hurry(self, ticket: Ticket, urgency: Urgency) -> None:
        """What waits has become more urgent."""
        self._budget.hurry(ticket.place, urgency)
        self._call()

    def leave(self, ticket: Ticket) -> None:
        """The send was answered, or is given up."""
        self._budget.leave(ticket.place, asyncio.get_running_loop().time())
        self._tickets.pop(ticket.place, None)
        self._call()

    def refused(self, retry_after: float | None) -> None:
        """The service said 429."""
        self._budget.refused(asyncio.get_running_loop().time(), retry_after)

    def _call(self) -> None:
        """Call whoever may go, and come back when the next one may."""
        loop = asyncio.get_running_loop()
        while (place := self._budget.take(loop.time())) is not None:
            called = self._tickets[place].called
            if called.done():  # cancelled in this round; its task leaves in the next one
                self._budget.hand_back(place)
            else:
                called.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self._budget.next_at(loop.time())
        if at is not None:
            self._timer = loop.call_at(at, self._call)
