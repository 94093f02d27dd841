"""The journal: what happened in a turn is what its records say, folded in order.

One append blob per turn holds the records. The rules, each of which a promise hangs on:

- `begin` is at position 0 and nowhere else.
- The run whose `claim` is the last one is the only writer. Every append but `stop` and `logged` is made under the
  condition that the journal ends where its writer thinks, so a writer that was overtaken notices (HTTP 412).
- The first `stop` or `end` decides, for ever. Frames after it do not count. An `upstream` between a `stop` and its
  `end` does: it says who was asked by the run that was stopped before it had text to store.
- A frame is appended before it is shown. `restart` and `redact` begin a new generation, openly.

Positions are byte offsets at the end of a record. Outside this package they are opaque numbers.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from chat import records
from chat.errors import JournalMissing
from chat.frames import from_utf16_offset, sha256_of, utf16_length
from chat.records import Admit, Begin, Claim, End, Frame, Logged, Record, Redact, Restart, Stop, UpstreamSeen, Wait
from chat.turn import TurnStatus, conversation_key_of
from chat.upstream_history import UpstreamHistory

COVER = "█"


class JournalStore(Protocol):
    """Where journals are kept: append blobs that can be extended under a condition."""

    async def create(self, conversation_key: str, turn_id: str) -> bool: ...

    async def append(self, conversation_key: str, turn_id: str, data: bytes, position: int | None) -> int: ...

    async def read(self, conversation_key: str, turn_id: str, start: int = 0) -> bytes: ...

    async def prepare_order(self, conversation_key: str) -> None: ...

    async def append_order(self, conversation_key: str, turn_id: str) -> None: ...

    async def read_order(self, conversation_key: str) -> list[str]: ...


@dataclass(slots=True)
class Fold:
    """The records of one journal up to `position`, folded."""

    position: int = 0
    begin: Begin | None = None
    admitted: bool = False
    claims: int = 0
    claim: Claim | None = None
    first_claim: Claim | None = None
    upstream: UpstreamSeen | None = None
    generation: int = 1
    seq: int = 0
    first_frame_at: int | None = None
    first_called_at: int | None = None
    waiting: Wait | None = None
    stop: Stop | None = None
    end: End | None = None
    logged: bool = False
    last_at: int = 0
    length: int = 0
    history: UpstreamHistory = field(default_factory=UpstreamHistory)
    _pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text of the current generation, in code points."""
        if len(self._pieces) > 1:
            self._pieces[:] = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    @property
    def decided(self) -> bool:
        """Whether the outcome is fixed, though perhaps not yet written down in an `end`."""
        return self.stop is not None or self.end is not None

    @property
    def status(self) -> TurnStatus:
        return TurnStatus(self.end.status) if self.end else TurnStatus.RUNNING

    def apply(self, record: Record, position: int) -> None:
        """Take in the next record, which ends at `position`."""
        self.position = position
        self.last_at = max(self.last_at, record.at)
        match record:
            case Begin():
                self.begin = self.begin or record
            case Admit():
                self.admitted = True
            case Stop():
                self.stop = self.stop or record
            case End():
                self.end = self.end or record
            case Logged():
                self.logged = True
            case UpstreamSeen() if self.end is None:
                self._apply_writing(record)
            case _ if not self.decided:
                self._apply_writing(record)

    def _apply_writing(self, record: Record) -> None:
        """Records of a writer count only while nothing is decided (`upstream`: until the `end`)."""
        self.history.apply(record)
        match record:
            case Claim():
                self.claims += 1
                self.claim, self.waiting = record, None
                self.first_claim = self.first_claim or record
            case UpstreamSeen():
                self.upstream = record
                self.first_called_at = self.first_called_at or record.called_at
            case Frame():
                self.seq = record.seq
                self.length += utf16_length(record.text)
                self._pieces.append(record.text)
                self.first_frame_at = self.first_frame_at or record.at
            case Wait():
                self.waiting = record
            case Restart():
                self.generation, self.length = record.generation, 0
                self._pieces.clear()
            case Redact():
                self.generation = record.generation
                self._pieces[:] = [redacted(self.text, record.offset, record.length)]

    def apply_bytes(self, data: bytes) -> list[Record]:
        """Take in the records in these bytes, which follow the position; returns them.

        The position moves behind lines of a kind that this version does not know, too: else whoever appends would be
        told for ever that somebody wrote in between.
        """
        start = self.position
        found = []
        for record, end in records.decode(data):
            self.apply(record, start + end)
            found.append(record)
        self.position = start + data.rfind(b"\n") + 1
        return found

    @property
    def sha256(self) -> str:
        return sha256_of(self.text)


def redacted(text: str, offset: int, length: int) -> str:
    """The text with `length` UTF-16 units from `offset` on covered, as long as before."""
    first, last = from_utf16_offset(text, offset), from_utf16_offset(text, offset + length)
    return text[:first] + COVER * utf16_length(text[first:last]) + text[last:]


def folded(found: Iterable[tuple[Record, int]]) -> Fold:
    """The fold of some records with their positions."""
    fold = Fold()
    for record, position in found:
        fold.apply(record, position)
    return fold


def folded_to_end(data: bytes) -> Fold:
    """The fold of a whole journal up to its first `end`: what the log record is made from, so that copies are equal."""
    fold = Fold()
    for record, position in records.decode(data):
        fold.apply(record, position)
        if fold.end:
            break
    return fold


async def read_journal(store: JournalStore, turn_id: str) -> Fold:
    """The whole journal of a turn, folded. Raises JournalMissing when there is no `begin`."""
    fold = Fold()
    fold.apply_bytes(await store.read(conversation_key_of(turn_id), turn_id))
    if fold.begin is None:
        raise JournalMissing(turn_id)
    return fold
