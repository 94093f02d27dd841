"""Reconciliation: what was accepted, held against what the log has.

Every accepted turn and every proxied call leaves one record. Copies of it are no fault (delivery is at least once) as
long as they are equal; a record that is not there, or two that differ, are.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Reconciliation:
    """Ids are message ids of records: a turn's is its id and `.end`, a call's its own."""

    accepted: set[str] = field(default_factory=set)
    logged: set[str] = field(default_factory=set)  # accepted, and their record is with the hub by their own account
    _elsewhere: set[str] = field(default_factory=set)
    _seen: dict[str, list[bytes]] = field(default_factory=dict)

    def expect(self, ids: Iterable[str]) -> None:
        """Accepted; perhaps their record is still to be sent."""
        self.accepted.update(ids)

    def expect_logged(self, ids: Iterable[str]) -> None:
        """Accepted, and their record was taken by the hub."""
        ids = set(ids)
        self.accepted |= ids
        self.logged |= ids

    def leave_out(self, ids: Iterable[str]) -> None:
        """Accepted at another time: whether they have a record is not the question."""
        self._elsewhere.update(ids)

    def see(self, message_id: str, body: bytes) -> None:
        """A record of the hub."""
        self._seen.setdefault(message_id, []).append(hashlib.sha256(body).digest())

    @property
    def missing(self) -> list[str]:
        """Accepted and logged by their own account, and not in the hub."""
        return sorted(self.logged - set(self._seen))

    @property
    def waiting(self) -> list[str]:
        """To be sent yet, and not in the hub."""
        return sorted(self.accepted - self.logged - set(self._seen))

    @property
    def doubled(self) -> dict[str, int]:
        """How often a record came that came more than once."""
        return {name: len(copies) for name, copies in sorted(self._records.items()) if len(copies) > 1}

    @property
    def different(self) -> list[str]:
        """Doubled, and the copies are not equal."""
        return sorted(name for name, copies in self._records.items() if len(set(copies)) > 1)

    @property
    def unknown(self) -> list[str]:
        """In the hub, and nobody knows of their acceptance: deleted since, or of another app."""
        return sorted(set(self._records) - self.accepted)

    @property
    def records(self) -> int:
        """How many records there are, copies not counted."""
        return len(self._records)

    @property
    def _records(self) -> dict[str, list[bytes]]:
        return {name: copies for name, copies in self._seen.items() if name not in self._elsewhere}

    @property
    def sound(self) -> bool:
        """Whether nothing is missing and nothing contradicts itself."""
        return not self.missing and not self.different
