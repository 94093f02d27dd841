"""A client that speaks AMQP frame by frame, for what the SDK never asks and for what would take it seconds."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import uuid
from collections.abc import AsyncIterator
from urllib.parse import quote_plus

from stand_in.event_hubs.amqp.frames import AMQP_HEADER, EMPTY_FRAME, SASL_HEADER, FrameReader, encode_frame
from stand_in.event_hubs.amqp.messages import (
    APPLICATION_PROPERTIES,
    DATA,
    MESSAGE_ANNOTATIONS,
    PROPERTIES,
    VALUE,
    Request,
    section,
)
from stand_in.event_hubs.amqp.performatives import (
    AMQP_PERFORMATIVES,
    SASL_PERFORMATIVES,
    Attach,
    Begin,
    Detach,
    Disposition,
    Flow,
    Open,
    Performative,
    SaslInit,
    Transfer,
    decode_performative,
)
from stand_in.event_hubs.amqp.types import Described, Symbol, ULong
from stand_in.event_hubs.connection_string import SHARED_ACCESS_KEY, SHARED_ACCESS_KEY_NAME
from tests.stand_in.event_hubs.running import DEADLINE

NEVER = 4_000_000_000


def sas_token(
    resource: str, *, key: str = SHARED_ACCESS_KEY, name: str = SHARED_ACCESS_KEY_NAME, se: int = NEVER
) -> str:
    """A token as every Event Hubs client makes it."""
    escaped = quote_plus(resource)
    signature = hmac.digest(key.encode(), f"{escaped}\n{se}".encode(), hashlib.sha256)
    return f"SharedAccessSignature sr={escaped}&sig={quote_plus(base64.b64encode(signature))}&se={se}&skn={name}"


def event(body: bytes, partition_key: str | None = None) -> bytes:
    """A message with a body, and a partition key if there is one."""
    annotations = {} if partition_key is None else {Symbol("x-opt-partition-key"): partition_key}
    return (section(MESSAGE_ANNOTATIONS, annotations) if annotations else b"") + section(DATA, body)


class RawClient:
    """One connection with one session. Handles count up; answers are taken in their order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader(1 << 24)
        self._handle = -1
        self._deliveries = 0

    def write(self, performative: Performative, payload: bytes = b"", channel: int = 1) -> None:
        self._writer.write(encode_frame(channel, performative.to_bytes() + payload))

    def keep_alive(self) -> None:
        self._writer.write(EMPTY_FRAME)

    async def read(self) -> tuple[Performative, bytes]:
        """The next frame; raises IncompleteReadError when the server closed."""
        async with asyncio.timeout(DEADLINE):
            while True:
                frame = self._frames.next_frame()
                if frame is None:
                    data = await self._reader.read(1 << 16)
                    if not data:
                        raise asyncio.IncompleteReadError(b"", None)
                    self._frames.feed(data)
                elif frame.body:
                    return decode_performative(frame.body, AMQP_PERFORMATIVES | SASL_PERFORMATIVES)

    async def open(self) -> None:
        """Come in as the SDK does."""
        self._writer.write(SASL_HEADER + encode_frame(0, SaslInit(mechanism="ANONYMOUS").to_bytes(), 1) + AMQP_HEADER)
        self.write(Open(container_id="raw", max_frame_size=1 << 20), channel=0)
        self.write(Begin(next_outgoing_id=0, incoming_window=5000, outgoing_window=5000))
        assert await self._reader.readexactly(8) == SASL_HEADER
        sasl = await self._reader.readuntil(AMQP_HEADER)
        assert sasl.endswith(encode_frame(0, bytes.fromhex("005344c00402500040"), 1) + AMQP_HEADER), "outcome: ok"
        assert isinstance((await self.read())[0], Open)
        assert isinstance((await self.read())[0], Begin)

    async def attach(self, address: str, *, receive: bool = False) -> tuple[int, Detach | None]:
        """Attach a link; return its handle, and the detach if it was refused."""
        self._handle += 1
        terminus = Described(ULong(0x28), [address])
        other = Described(ULong(0x29), ["client"])
        source, target = (terminus, other) if receive else (other, terminus)
        self.write(
            Attach(
                name=str(self._handle), handle=self._handle, role=receive, source=source, target=target,
                initial_delivery_count=None if receive else 0,
            )
        )  # fmt: skip
        while not isinstance(attached := (await self.read())[0], Attach):
            assert isinstance(attached, Flow), "credit for another link may come in between"
        if attached.source is None:
            detached, _ = await self.read()
            assert isinstance(detached, Detach)
            self.write(Detach(handle=self._handle, closed=True))
            return self._handle, detached
        if receive:
            self.grant(self._handle, 1000)
        else:
            assert isinstance((await self.read())[0], Flow)
        return self._handle, None

    def grant(self, handle: int, link_credit: int) -> None:
        """Allow messages on a link that was just attached."""
        self.write(
            Flow(
                next_incoming_id=0, incoming_window=5000, next_outgoing_id=0, outgoing_window=5000, handle=handle,
                delivery_count=0, link_credit=link_credit,
            )
        )  # fmt: skip

    async def send(self, handle: int, message: bytes, message_format: int = 0) -> object:
        """Send a message; return its outcome."""
        number, self._deliveries = self._deliveries, self._deliveries + 1
        self.write(
            Transfer(handle=handle, delivery_id=number, delivery_tag=b"t", message_format=message_format), message
        )
        while not isinstance(answer := (await self.read())[0], Disposition):
            assert isinstance(answer, Flow)
        assert (answer.first, answer.settled) == (number, True)
        return answer.state

    async def send_in_pieces(self, handle: int, message: bytes) -> object:
        """Send a message that is larger than a frame; return its outcome."""
        number = self._deliveries
        while len(message) > 60_000:
            self.write(
                Transfer(handle=handle, delivery_id=number, delivery_tag=b"t", message_format=0, more=True),
                message[:60_000],
            )
            message = message[60_000:]
        return await self.send(handle, message)

    async def receive(self) -> bytes:
        """The next message."""
        message = b""
        while True:
            performative, payload = await self.read()
            assert isinstance(performative, Transfer)
            message += payload
            if not performative.more:
                return message

    async def ask(self, node: str, body: object = None, **properties: object) -> dict[object, object]:
        """Ask `$cbs` or `$management`; return the properties of the response, with the body under "body"."""
        await self.attach(node, receive=True)
        handle, _ = await self.attach(node)
        number = uuid.uuid4()
        request = section(PROPERTIES, [number]) + section(APPLICATION_PROPERTIES, properties) + section(VALUE, body)
        await self.send(handle, request)
        response = Request.from_message(await self.receive())
        return {**response.properties, "body": response.body}

    async def sign_in(self, hub: str) -> None:
        """Put a valid token for a hub."""
        resource = f"sb://localhost/{hub}"
        reply = await self.ask(
            "$cbs", sas_token(resource), operation="put-token", type="servicebus.windows.net:sastoken", name=resource
        )
        assert reply["status-code"] == 202


@contextlib.asynccontextmanager
async def raw_client(port: int, hub: str | None = "logs") -> AsyncIterator[RawClient]:
    """A client that came in, and signed in for a hub."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = RawClient(reader, writer)
    try:
        await client.open()
        if hub is not None:
            await client.sign_in(hub)
        yield client
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):  # the server may have cut it
            await writer.wait_closed()
