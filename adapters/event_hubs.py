"""The log in Event Hubs: one record in, and back when the hub accepted it.

One producer lives as long as the process, because opening one costs half a second even to a neighbour. A send is
bounded in time from here: the SDK's own `timeout` does not cover a peer that accepts a connection and then is silent.
The SDK tries a send twice; further tries are the caller's, who has durable timers for them.

**At least once.** A send that failed here may have been stored, and the SDK itself sends again when an acknowledgement
is lost: readers drop copies by the record's message id.

Records are sent one by one, in batches of one, so that a record over the limit is found out before it travels. They are
not gathered into larger batches: a batch has one partition key, and records that come at the same time are of different
conversations. The producer has one send on its way at a time, so its rate is 1 / round trip: over 1,000 a second to a
neighbour, some 100 to 500 within an Azure region, where a worker ends a few turns a second.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Final, Self

from azure.eventhub import EventData, EventDataBatch, EventHubConnectionStringProperties, parse_connection_string
from azure.eventhub.aio import EventHubProducerClient

from chat.errors import LogUnavailable, MissingSetting

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

logger = logging.getLogger(__name__)

SEND_SECONDS: Final = 15.0  # two tries of the SDK with a new connection each take about 6 s
_CLOSE_SECONDS: Final = 3.0
_RETRY_TOTAL: Final = 1
# The service closes a connection that is idle for 240 s, and what comes next then waits for a new one.
_KEEP_ALIVE_SECONDS: Final = 30
# What the Standard and Premium tiers take for an event; the hub says what it takes (Basic: 256 KiB) when it is reached.
_USUAL_MAX_BYTES: Final = 1024 * 1024

# The SDK tells every change of a link's state at INFO and repeats in warnings what it raises in the end.
logging.getLogger("azure.eventhub").setLevel(logging.ERROR)


class _Producer:
    """One client of the SDK, closed when it was retired and the last send through it is over."""

    def __init__(self, client: EventHubProducerClient) -> None:
        self.client = client
        self.users = 0
        self.retired = False


class EventHubLog:
    """The way to one event hub, for one event loop."""

    def __init__(
        self, make_client: Callable[[], EventHubProducerClient], *, send_seconds: float = SEND_SECONDS
    ) -> None:
        """Send through clients made by `make_client`; the first is made by the first send."""
        self._make_client = make_client
        self._send_seconds = send_seconds
        self._producer: _Producer | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._max_bytes = _USUAL_MAX_BYTES

    @classmethod
    def from_connection_string(
        cls, connection_string: str, name: str | None = None, *, send_seconds: float = SEND_SECONDS
    ) -> Self:
        """Send to the hub `name`, or to the connection string's EntityPath. Raises MissingSetting."""
        hub = name or _parse(connection_string).eventhub_name
        if not hub:
            raise MissingSetting("AZURE_EVENTHUB_NAME", "is not set, and AZURE_EVENTHUB_CONN_STR has no EntityPath")
        _parse(connection_string)
        return cls(
            lambda: EventHubProducerClient.from_connection_string(
                connection_string, eventhub_name=hub, retry_total=_RETRY_TOTAL, keep_alive=_KEEP_ALIVE_SECONDS
            ),
            send_seconds=send_seconds,
        )

    @classmethod
    def from_identity(
        cls,
        fully_qualified_namespace: str,
        name: str,
        credential: "AsyncTokenCredential",
        *,
        send_seconds: float = SEND_SECONDS,
    ) -> Self:
        """Send to the hub `name` as an identity, which needs the role Azure Event Hubs Data Sender.

        The credential stays the caller's to close.
        """
        return cls(
            lambda: EventHubProducerClient(
                fully_qualified_namespace,
                name,
                credential,
                retry_total=_RETRY_TOTAL,
                keep_alive=_KEEP_ALIVE_SECONDS,
            ),
            send_seconds=send_seconds,
        )

    @property
    def max_bytes(self) -> int:
        """What the hub takes for one record, protocol and properties included (leave them a few KiB)."""
        return self._max_bytes

    async def warm_up(self) -> None:
        """Connect now, so that the first record does not wait for it. Raises LogUnavailable."""
        await self._bounded(self._open)

    async def send(
        self,
        body: bytes,
        *,
        message_id: str,
        partition_key: str,
        content_type: str = "application/json",
        properties: dict[str, str | int | float | bool] | None = None,
    ) -> None:
        """Send one record; return when the hub accepted it. Raises LogUnavailable."""
        event = _event(body, message_id, content_type)
        event.properties = {name: value for name, value in (properties or {}).items()}

        async def send_event(client: EventHubProducerClient) -> None:
            batch = await client.create_batch(partition_key=partition_key)
            self._max_bytes = batch.max_size_in_bytes
            _add(batch, event, len(body))
            await client.send_batch(batch)

        await self._bounded(send_event)

    async def send_all(self, records: Sequence[tuple[str, bytes]]) -> None:
        """Send records of different origins together, each with its message id; return when all were accepted.

        Without a partition key: the service spreads the batches. Raises LogUnavailable; some may be accepted then.
        """
        await self._bounded(lambda client: self._send_batches(client, records))

    async def _send_batches(self, client: EventHubProducerClient, records: Sequence[tuple[str, bytes]]) -> None:
        batch = await client.create_batch()
        self._max_bytes = batch.max_size_in_bytes
        for message_id, body in records:
            event = _event(body, message_id)
            try:
                batch.add(event)
            except ValueError:  # it does not fit beside the others
                if len(batch):
                    await client.send_batch(batch)
                    batch = await client.create_batch()
                _add(batch, event, len(body))
        await client.send_batch(batch)

    async def _open(self, client: EventHubProducerClient) -> None:
        batch = await client.create_batch()
        self._max_bytes = batch.max_size_in_bytes

    async def close(self) -> None:
        """Close the connection. A later send would open a new one."""
        if self._producer is not None:
            self._retire(self._producer)
        while self._closing:
            await asyncio.wait(set(self._closing))

    async def _bounded(self, operation: Callable[[EventHubProducerClient], Coroutine[None, None, None]]) -> None:
        """Do one operation in bounded time. Trouble retires the client: the next operation gets a new one."""
        if self._producer is None:
            self._producer = _Producer(self._make_client())
        producer = self._producer
        producer.users += 1
        # A task to be left behind, rather than `wait_for`: that waits until the SDK obeyed the cancellation, which
        # gets lost in Python 3.11 when a frame arrives in the same moment.
        task = asyncio.create_task(operation(producer.client))
        try:
            await asyncio.wait({task}, timeout=self._send_seconds)
            if not task.done():
                raise LogUnavailable(f"Event Hubs did not answer within {self._send_seconds:g} s.")
            task.result()
        except LogUnavailable:
            if not task.done():
                self._retire(producer)
            raise
        except asyncio.CancelledError:
            self._retire(producer)
            raise
        except Exception as error:  # the SDK lets its inner errors out too, beside EventHubError
            self._retire(producer)
            raise LogUnavailable(f"Event Hubs did not accept: {type(error).__name__}: {_first_line(error)}") from error
        finally:
            if not task.done():
                task.cancel()
                task.add_done_callback(_ignore_outcome)
            producer.users -= 1
            self._close_if_unused(producer)

    def _retire(self, producer: _Producer) -> None:
        if self._producer is producer:
            self._producer = None
        producer.retired = True
        self._close_if_unused(producer)

    def _close_if_unused(self, producer: _Producer) -> None:
        """Close a retired client in the background: others may still be sending, and closing may take its time."""
        if producer.retired and producer.users == 0:
            producer.users = -1  # closed once
            task = asyncio.create_task(_close(producer.client))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


def _event(body: bytes, message_id: str, content_type: str = "application/json") -> EventData:
    event = EventData(body)
    event.message_id = message_id
    event.content_type = content_type
    return event


def _add(batch: EventDataBatch, event: EventData, size: int) -> None:
    """Raises LogUnavailable for an event that does not fit into an empty batch."""
    try:
        batch.add(event)
    except ValueError as error:
        raise LogUnavailable(
            f"The record {event.message_id} has {size} bytes; with its properties it is over the hub's limit of "
            f"{batch.max_size_in_bytes}."
        ) from error


def _ignore_outcome(task: asyncio.Task[None]) -> None:
    """Take the exception of a task that nobody waits for any more: asyncio complains about it otherwise."""
    if not task.cancelled():
        task.exception()


async def _close(client: EventHubProducerClient) -> None:
    try:
        await asyncio.wait_for(client.close(), _CLOSE_SECONDS)
    except Exception as error:  # noqa: BLE001  # it is thrown away anyhow, and a broken one may raise anything
        logger.info("An Event Hubs client could not be closed: %s: %s", type(error).__name__, _first_line(error))


def _parse(connection_string: str) -> EventHubConnectionStringProperties:
    try:
        return parse_connection_string(connection_string)
    except ValueError as error:
        raise MissingSetting(
            "AZURE_EVENTHUB_CONN_STR", "is not an Event Hubs connection string (Endpoint=sb://..;SharedAccessKey..)"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
