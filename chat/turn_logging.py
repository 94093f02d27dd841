"""Logging a turn: send its record to Event Hubs, then append `logged`.

In this order: a crash in between sends the record again, equal to the byte and under the same id; the other way round
it would be lost.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from chat import records
from chat.conversation import Prompt
from chat.conversation_order import finished_turn
from chat.errors import JournalMissing, LogUnavailable, MissingSetting
from chat.journal import Fold, JournalStore, folded_to_end, read_journal
from chat.journal_writer import Clock
from chat.log_record import log_record, message_id, partition_key
from chat.record_size import encoded
from chat.records import Logged
from chat.turn import conversation_key_of

logger = logging.getLogger(__name__)


class EventLog(Protocol):
    """Where records go. Raises LogUnavailable when a record was not accepted."""

    @property
    def max_bytes(self) -> int: ...

    async def send(self, body: bytes, *, message_id: str, partition_key: str) -> None: ...


class MarkedJournals(JournalStore, Protocol):
    """Journals, and markers for turns whose record could not be delivered."""

    async def put_marker(self, turn_id: str, content: bytes = b"") -> None: ...

    async def delete_marker(self, turn_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class TurnLogging:
    """Delivers the records of ended turns. `event_log()` raises MissingSetting when none is configured."""

    store: Callable[[], MarkedJournals]
    event_log: Callable[[], EventLog]
    clock: Clock
    with_prompts: bool = True

    async def deliver(self, turn_id: str, *, again: bool) -> bool:
        """Send the record, unless the journal says `logged`; whether it is with Event Hubs.

        When it was not accepted a marker is left, by which the sweeper finds the turn whatever becomes of its instance;
        a try that comes `again` takes it away when the record was.
        """
        store, key = self.store(), conversation_key_of(turn_id)
        data = await store.read(key, turn_id)
        if any(isinstance(record, Logged) for record, _ in records.decode(data)):
            return await self._delivered(turn_id, again=again)
        fold = folded_to_end(data)
        try:
            event_log = self.event_log()
            record = log_record(fold, await self._prompt(store, fold))
            body = encoded(record, event_log.max_bytes)
            await event_log.send(body, message_id=message_id(turn_id), partition_key=partition_key(turn_id))
        except (LogUnavailable, MissingSetting) as error:
            logger.warning("The record of a turn was not accepted: %s", error, extra={"turn_id": turn_id})
            await store.put_marker(turn_id)
            return False
        await store.append(key, turn_id, records.encode(Logged(self.clock.now())), None)
        return await self._delivered(turn_id, again=again)

    async def _delivered(self, turn_id: str, *, again: bool) -> bool:
        if again:
            await self.store().delete_marker(turn_id)
        return True

    async def _prompt(self, store: JournalStore, fold: Fold) -> Prompt | None:
        """What the model was given, from the journals of the turns it was made of."""
        assert fold.begin is not None
        if not self.with_prompts:
            return None
        earlier = []
        for turn_id in fold.upstream.prompt_turns if fold.upstream else ():
            try:
                earlier.append(finished_turn(await read_journal(store, turn_id), 0))
            except JournalMissing:
                logger.info("An earlier turn was deleted before this one was logged.", extra={"turn_id": turn_id})
        system = fold.upstream.system if fold.upstream else ""
        return Prompt(system, tuple(earlier), fold.begin.request["prompt"])
