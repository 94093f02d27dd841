"""The lease of a task hub: one host works on it at a time, and others may stand by.

Theory of operation. The owner renews its lease every third of it. A host that finds the lease expired, or its owner's
process gone, takes the hub: from then on it alone decides, and what was left of the owner's work is given out again.
The former owner may live on: a process that was stopped and continued, a machine that slept. It learns of its loss at
its next commit, which looks at the lease inside the transaction, or when it renews, and stores nothing more. What its
functions still do is theirs; their results are late.

A process that is stopped in the very middle of a commit holds the database's lock: nobody takes the hub until it goes
on. On Azure such locks are leases of their own.
"""

import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stand_in.durable.hub_statements import SCHEMA, STATEMENTS
from stand_in.state_folder import is_alive

# How long a look at the lease may wait for a commit of the owner's.
_BUSY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Owner:
    """Who works on a hub. `address` is where it answers durable clients, `expires_at` seconds since 1970."""

    token: str
    pid: int
    address: str
    expires_at: float


class HubLease:
    """One host's hold on a task hub. `seconds` is how long it may be silent."""

    def __init__(
        self,
        database: Path,
        address: str,
        seconds: float,
        *,
        now: Callable[[], float] = time.time,
        pid: int | None = None,
        lives: Callable[[int], bool] = is_alive,
    ) -> None:
        self.token = uuid.uuid4().hex
        self.seconds = seconds
        self._address = address
        self._now = now
        self._pid = os.getpid() if pid is None else pid
        self._lives = lives
        database.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(database, isolation_level=None, timeout=_BUSY_SECONDS)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.executescript(SCHEMA)
        self._until = 0.0

    def take(self) -> bool:
        """Become the owner, unless another host is one and may be at work. Each hold has a token of its own."""
        with self._transaction():
            owner = self.owner()
            if owner is not None and owner.token != self.token and self._is_at_work(owner):
                return False
            self.token = uuid.uuid4().hex
            until = self._now() + self.seconds
            self._connection.execute(STATEMENTS["take_hub"], (self.token, self._pid, self._address, until))
        self._until = until
        return True

    def renew(self) -> bool:
        """Hold on to the hub; False when another host has taken it."""
        until = self._now() + self.seconds
        if self._connection.execute(STATEMENTS["renew_hub"], (self.token, until)).rowcount == 0:
            self._until = 0.0
            return False
        self._until = until
        return True

    @property
    def is_fresh(self) -> bool:
        """Whether the lease cannot have been taken, as far as this host knows without looking."""
        return self._now() < self._until

    def owner(self) -> Owner | None:
        """Who has the hub now."""
        row = self._connection.execute(STATEMENTS["read_owner"]).fetchone()
        return None if row is None else Owner(*row)

    def close(self) -> None:
        """Leave the hub to whoever stands by."""
        self._connection.execute(STATEMENTS["leave_hub"], (self.token,))
        self._connection.close()

    def _is_at_work(self, owner: Owner) -> bool:
        # A former owner with this very process id is dead: it is not us.
        return owner.expires_at > self._now() and owner.pid != self._pid and self._lives(owner.pid)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            self._connection.execute("COMMIT")
