"""Who is connected: connections, users, groups, and the groups of users that outlive connections.

* A group is a set of connections and exists while it has one. Membership of a connection ends with the connection.
* A *user-group* is membership of a user: it is applied to each connection that the user opens while it lasts (`ttl`
  seconds, a year without one), so it survives reconnects. With `ttl` 0 only the connections of this moment join.
* Of the user-groups without `ttl` the service keeps the latest 100 of a user.
* Sending to a hub, user, group or connection that nobody has reaches nobody and is no error.
"""

import math
from collections.abc import Callable, Collection, Iterator

from stand_in.signalr.client_connection import ClientConnection
from stand_in.signalr.hub_protocol import EncodedOnce

ONE_YEAR = 365 * 24 * 3600.0
MAXIMUM_LASTING_USER_GROUPS = 100


class Hub:
    """One hub by its lower-case name. `now` is a monotonic clock."""

    def __init__(self, name: str, now: Callable[[], float]) -> None:
        self.name = name
        self.connections: dict[str, ClientConnection] = {}
        self._now = now
        self._users: dict[str, dict[str, ClientConnection]] = {}
        # For each group the connections and when their membership lapses (never, for one joined by connection).
        self._groups: dict[str, dict[ClientConnection, float]] = {}
        # For each user the user-groups and when they lapse, in the order in which they were joined.
        self._user_groups: dict[str, dict[str, float]] = {}
        self._lasting: dict[str, dict[str, None]] = {}

    # -- connections -------------------------------------------------------------------------------------------------

    def add(self, connection: ClientConnection) -> None:
        """A client finished its handshake: it is reachable from here on, with the user-groups of its user."""
        self.connections[connection.connection_id] = connection
        if connection.user_id is None:
            return
        self._users.setdefault(connection.user_id, {})[connection.connection_id] = connection
        for group, lapses in self._lasting_groups(connection.user_id):
            self._groups.setdefault(group, {})[connection] = lapses

    def remove(self, connection: ClientConnection) -> None:
        """A connection ended."""
        if self.connections.pop(connection.connection_id, None) is None:
            return
        self.leave_all_groups(connection)
        if connection.user_id is not None:
            of_user = self._users[connection.user_id]
            del of_user[connection.connection_id]
            if not of_user:
                del self._users[connection.user_id]

    def everyone(self) -> Collection[ClientConnection]:
        return list(self.connections.values())

    def of_user(self, user_id: str) -> Collection[ClientConnection]:
        return list(self._users.get(user_id, {}).values())

    def of_group(self, group: str) -> Collection[ClientConnection]:
        members = self._groups.get(group)
        if members is None:
            return ()
        now = self._now()
        for connection in [member for member, lapses in members.items() if lapses <= now]:
            self.leave_group(connection, group)
        return list(members)

    # -- groups of connections ---------------------------------------------------------------------------------------

    def join_group(self, connection: ClientConnection, group: str) -> None:
        self._groups.setdefault(group, {})[connection] = math.inf

    def leave_group(self, connection: ClientConnection, group: str) -> None:
        members = self._groups.get(group, {})
        members.pop(connection, None)
        if not members:
            self._groups.pop(group, None)

    def leave_all_groups(self, connection: ClientConnection) -> None:
        for group in [name for name, members in self._groups.items() if connection in members]:
            self.leave_group(connection, group)

    # -- groups of users ---------------------------------------------------------------------------------------------

    def user_joins_group(self, user_id: str, group: str, ttl: float | None) -> None:
        lapses = self._now() + (ONE_YEAR if ttl is None else ttl)
        if ttl != 0:
            self._user_groups.setdefault(user_id, {})[group] = lapses
            self._bound_lasting_groups(user_id, group, lasting=ttl is None)
        for connection in self.of_user(user_id):
            members = self._groups.setdefault(group, {})
            members[connection] = max(members.get(connection, 0.0), math.inf if ttl == 0 else lapses)

    def user_leaves_group(self, user_id: str, group: str) -> None:
        self._user_groups.get(user_id, {}).pop(group, None)
        self._lasting.get(user_id, {}).pop(group, None)
        for connection in self.of_user(user_id):
            self.leave_group(connection, group)

    def user_leaves_all_groups(self, user_id: str) -> None:
        self._user_groups.pop(user_id, None)
        self._lasting.pop(user_id, None)
        for connection in self.of_user(user_id):
            self.leave_all_groups(connection)

    def user_is_in_group(self, user_id: str, group: str) -> bool:
        if any(name == group for name, _ in self._lasting_groups(user_id)):
            return True
        return any(connection.user_id == user_id for connection in self.of_group(group))

    def _lasting_groups(self, user_id: str) -> Iterator[tuple[str, float]]:
        now = self._now()
        return ((group, lapses) for group, lapses in self._user_groups.get(user_id, {}).items() if lapses > now)

    def _bound_lasting_groups(self, user_id: str, group: str, *, lasting: bool) -> None:
        groups = self._lasting.setdefault(user_id, {})
        groups.pop(group, None)
        if not lasting:
            return
        groups[group] = None
        while len(groups) > MAXIMUM_LASTING_USER_GROUPS:
            self.user_leaves_group(user_id, next(iter(groups)))

    def forget_lapsed(self) -> None:
        """Drop what has lapsed, so that a long-lived emulator does not grow with its users."""
        now = self._now()
        for user_id, groups in list(self._user_groups.items()):
            for group in [name for name, lapses in groups.items() if lapses <= now]:
                del groups[group]
            if not groups:
                del self._user_groups[user_id]
        for group in list(self._groups):
            self.of_group(group)


def deliver(message: EncodedOnce, receivers: Collection[ClientConnection]) -> None:
    """Send one record to connections; those that closed meanwhile take no notice."""
    for receiver in receivers:
        receiver.send(message)


class Hubs:
    """All hubs, made when they are first named."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self._hubs: dict[str, Hub] = {}

    def __getitem__(self, name: str) -> Hub:
        hub = self._hubs.get(name)
        if hub is None:
            hub = self._hubs[name] = Hub(name, self.now)
        return hub

    def __iter__(self) -> Iterator[Hub]:
        return iter(list(self._hubs.values()))
