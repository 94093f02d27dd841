"""The ports of a stack: which are asked for, whether they are free, and which to take when any will do.

Ports are known before anything starts, since every service is told the addresses of the others. A port found free can
be taken by someone else before its service listens; the service then says so itself.
"""

import errno
import random
import socket
from collections.abc import Iterable, Mapping

from stand_in.config import Service
from stand_in.errors import PortInUse

# Below every usual ephemeral range (Linux 32768-60999, others 49152-65535): a port from that range could be taken by
# any outgoing connection while its service restarts, even by a client that connects to itself while it retries.
FREE_RANGE = range(20000, 32768)


def is_free(port: int) -> bool:
    """Whether a service could listen on it now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections in TIME_WAIT are no obstacle, a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
        return True


def accepts(port: int, timeout: float = 1.0) -> bool:
    """Whether somebody accepts connections there."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout):
            return True
    except OSError:
        return False


def choose(
    services: Iterable[Service], asked: Mapping[str, int], *, free_ports: bool, chance: random.Random
) -> dict[str, int]:
    """A port for each service: the one asked for, else a free one if wanted, else its default.

    Raises PortInUse, naming every service whose port is taken.
    """
    services = tuple(services)
    ports = {service.key: asked.get(service.key) or service.default_port for service in services}
    busy = [
        f"port {ports[service.key]} is in use; choose another with {service.option} or --free-ports"
        for service in services
        if not (free_ports and service.key not in asked) and not is_free(ports[service.key])
    ]
    if busy:
        raise PortInUse("\n".join(busy))
    taken = set(asked.values())
    for service in services:
        if free_ports and service.key not in asked:
            ports[service.key] = _free_port(taken, chance)
        taken.add(ports[service.key])
    twice = sorted({port for port in ports.values() if list(ports.values()).count(port) > 1})
    if twice:
        options = " and ".join(service.option for service in services if ports[service.key] == twice[0])
        raise PortInUse(f"port {twice[0]} is wanted twice, by {options}")
    return ports


def _free_port(taken: set[int], chance: random.Random) -> int:
    for port in chance.sample(FREE_RANGE, k=len(FREE_RANGE)):
        if port not in taken and is_free(port):
            return port
    raise PortInUse(f"no free port between {FREE_RANGE.start} and {FREE_RANGE.stop - 1}")
