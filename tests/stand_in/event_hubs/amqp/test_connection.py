"""A whole connection without a socket: `amqp/connection.py`, `sessions.py`, `links.py`, `sasl.py`."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stand_in.event_hubs.amqp.connection import Connection
from stand_in.event_hubs.amqp.errors import LinkRefused
from stand_in.event_hubs.amqp.frames import AMQP_HEADER, EMPTY_FRAME, SASL_HEADER, FrameReader, encode_frame
from stand_in.event_hubs.amqp.links import CREDIT, MAX_MESSAGE_SIZE, Delivery, IncomingLink, OutgoingLink
from stand_in.event_hubs.amqp.performatives import (
    ACCEPTED,
    AMQP_PERFORMATIVES,
    SASL_PERFORMATIVES,
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Flow,
    Open,
    Performative,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    Transfer,
    address_of,
    decode_performative,
)
from stand_in.event_hubs.amqp.types import Array, Described, Symbol, ULong


class Node:
    """Remembers what arrived, accepts it, and sends what it is told to."""

    def __init__(self, link: IncomingLink | OutgoingLink) -> None:
        self.link = link
        self.deliveries: list[Delivery] = []
        self.to_send: list[bytes] = []
        self.detached = False

    def on_delivery(self, delivery: Delivery) -> None:
        assert isinstance(self.link, IncomingLink)
        self.deliveries.append(delivery)
        self.link.accept(delivery)

    def on_credit(self) -> None:
        assert isinstance(self.link, OutgoingLink)
        while self.to_send and self.link.credit:
            self.link.send(self.to_send.pop(0))

    def on_detached(self) -> None:
        self.detached = True


class Nodes:
    """Every address is a node, but "nowhere"."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def attach_incoming(self, link: IncomingLink, attach: Attach) -> Node:
        return self._node(link, address_of(attach.target))

    def attach_outgoing(self, link: OutgoingLink, attach: Attach) -> Node:
        return self._node(link, address_of(attach.source))

    def _node(self, link: IncomingLink | OutgoingLink, address: str | None) -> Node:
        if address == "nowhere":
            raise LinkRefused("amqp:not-found", "no such node")
        node = Node(link)
        self.nodes.append(node)
        return node


class Peer:
    """A client that speaks frame by frame with a connection under test."""

    def __init__(self) -> None:
        self.container = Nodes()
        self.connection = Connection("server", self.container, lambda: None, 240_000)
        self._reader = FrameReader(1 << 24)

    def say(self, *performatives: Performative, payload: bytes = b"", channel: int = 1) -> list[Performative]:
        for performative in performatives:
            self.connection.receive(encode_frame(channel, performative.to_bytes() + payload))
        return [performative for performative, _ in self.heard()]

    def heard(self) -> list[tuple[Performative, bytes]]:
        self._reader.feed(self.connection.take_output())
        frames = []
        while (frame := self._reader.next_frame()) is not None:
            frames.append(decode_performative(frame.body, AMQP_PERFORMATIVES | SASL_PERFORMATIVES))
        return frames

    def connect(self) -> None:
        self.connection.receive(SASL_HEADER + encode_frame(0, SaslInit(mechanism="ANONYMOUS").to_bytes(), 1))
        self.connection.receive(AMQP_HEADER)
        self.connection.take_output()  # headers are no frames; a test of its own looks at them
        self.say(Open(container_id="client", max_frame_size=1 << 20), channel=0)
        self.say(BEGIN)


BEGIN = Begin(next_outgoing_id=0, incoming_window=10, outgoing_window=10)


def terminus(address: str) -> Described:
    return Described(ULong(0x28), [address])


def sender(address: str, handle: int = 0) -> Attach:
    return Attach(
        name=f"s{handle}", handle=handle, role=False, source=terminus("me"), target=terminus(address),
        initial_delivery_count=0,
    )  # fmt: skip


def receiver(address: str, handle: int = 0) -> Attach:
    return Attach(name=f"r{handle}", handle=handle, role=True, source=terminus(address), target=terminus("me"))


def transfer(number: int, *, handle: int = 0, more: bool = False) -> Transfer:
    return Transfer(handle=handle, delivery_id=number, delivery_tag=b"t", message_format=0, settled=False, more=more)


def credit(link_credit: int, *, seen: int = 0, window: int = 10, next_id: int = 0, drain: bool = False) -> Flow:
    return Flow(
        next_incoming_id=next_id, incoming_window=window, next_outgoing_id=0, outgoing_window=10, handle=0,
        delivery_count=seen, link_credit=link_credit, drain=drain,
    )  # fmt: skip


@pytest.fixture
def peer() -> Peer:
    connected = Peer()
    connected.connect()
    return connected


def test_a_client_is_let_in_as_the_sdk_does_it() -> None:
    """Header, mechanisms, outcome, header: the first bytes of every connection."""
    peer = Peer()
    peer.connection.receive(SASL_HEADER)
    output = peer.connection.take_output()
    assert output[:8] == SASL_HEADER
    mechanisms, _ = decode_performative(output[16:], SASL_PERFORMATIVES)
    assert mechanisms == SaslMechanisms(sasl_server_mechanisms=Array((Symbol("ANONYMOUS"),)))

    peer.connection.receive(encode_frame(0, SaslInit(mechanism="ANONYMOUS").to_bytes(), 1))
    assert peer.heard() == [(SaslOutcome(code=0), b"")]

    peer.connection.receive(AMQP_HEADER)
    assert peer.connection.take_output() == AMQP_HEADER
    assert peer.say(Open(container_id="c"), channel=0) == [
        Open(container_id="server", max_frame_size=65536, channel_max=4999, idle_time_out=240_000)
    ]


@pytest.mark.parametrize("header", [AMQP_HEADER, b"AMQP\x02\x01\x00\x00", b"GET / HT"])
def test_another_protocol_is_answered_with_ours_and_closed(header: bytes) -> None:
    peer = Peer()
    peer.connection.receive(header)

    assert peer.connection.take_output() == SASL_HEADER
    assert peer.connection.closed


def test_another_mechanism_is_refused() -> None:
    peer = Peer()
    peer.connection.receive(SASL_HEADER)
    peer.connection.take_output()
    peer.connection.receive(encode_frame(0, SaslInit(mechanism="PLAIN").to_bytes(), 1))

    assert peer.heard() == [(SaslOutcome(code=1), b"")]
    assert peer.connection.closed


def test_a_sender_gets_credit_and_the_limit_for_messages(peer: Peer) -> None:
    attached, flow = peer.say(sender("hub"))

    assert isinstance(attached, Attach)
    assert (attached.role, attached.target, attached.max_message_size) == (True, terminus("hub"), MAX_MESSAGE_SIZE)
    assert isinstance(flow, Flow)
    assert (flow.handle, flow.link_credit, flow.delivery_count) == (0, CREDIT, 0)


def test_a_message_is_settled_at_once(peer: Peer) -> None:
    peer.say(sender("hub"))

    assert peer.say(transfer(7), payload=b"message") == [
        Disposition(role=True, first=7, last=7, settled=True, state=ACCEPTED)
    ]
    assert [(d.payload, d.size) for d in peer.container.nodes[0].deliveries] == [(b"message", 7)]


def test_a_message_in_several_frames_is_one_delivery(peer: Peer) -> None:
    peer.say(sender("hub"))
    peer.say(transfer(0, more=True), payload=b"one ")
    answers = peer.say(transfer(0), payload=b"two")

    assert len(answers) == 1
    assert [d.payload for d in peer.container.nodes[0].deliveries] == [b"one two"]


def test_an_aborted_message_is_no_delivery(peer: Peer) -> None:
    peer.say(sender("hub"))
    peer.say(transfer(0, more=True), payload=b"one ")

    assert peer.say(Transfer(handle=0, delivery_id=0, aborted=True)) == []
    assert peer.container.nodes[0].deliveries == []


def test_of_a_message_over_the_limit_only_the_size_is_kept(peer: Peer) -> None:
    peer.say(sender("hub"))
    piece = b"x" * 60_000
    for _ in range(30):
        peer.say(transfer(0, more=True), payload=piece)
    peer.say(transfer(0), payload=b"")

    (delivery,) = peer.container.nodes[0].deliveries
    assert delivery.size == 30 * 60_000
    assert len(delivery.payload) < MAX_MESSAGE_SIZE + 60_000


def test_credit_is_topped_up_at_half(peer: Peer) -> None:
    """At zero the SDK sends a flow of its own, with counters that are off."""
    peer.say(sender("hub"))
    flows = []
    for number in range(CREDIT):
        flows += [a for a in peer.say(transfer(number), payload=b"m") if isinstance(a, Flow)]

    assert [(flow.delivery_count, flow.link_credit) for flow in flows] == [(CREDIT // 2, CREDIT), (CREDIT, CREDIT)]


def test_messages_go_out_as_credit_allows(peer: Peer) -> None:
    peer.say(receiver("hub"))
    node = peer.container.nodes[0]
    node.to_send = [b"a", b"b", b"c"]

    sent = peer.say(credit(2))
    assert [t.delivery_id for t in sent if isinstance(t, Transfer)] == [0, 1]
    assert all(t.settled for t in sent if isinstance(t, Transfer))
    assert len(peer.say(credit(2, seen=1, next_id=1))) == 1, "one of the two is still under way"
    assert node.to_send == []


def test_frames_wait_for_the_window_of_the_session(peer: Peer) -> None:
    """A window of two frames lets two pieces of a message through, then the rest."""
    peer.say(receiver("hub"))
    node = peer.container.nodes[0]
    node.to_send = [bytes(150_000), b"next"]
    peer.say(credit(10, window=2))
    assert len(node.to_send) == 1, "the next message waits behind the first"

    rest = peer.say(credit(9, seen=1, next_id=2))
    assert [(t.delivery_id, t.more) for t in rest if isinstance(t, Transfer)] == [(None, False), (1, False)]


@given(st.integers(0, 400_000))
@settings(max_examples=25)
def test_the_pieces_of_a_message_are_the_message(size: int) -> None:
    peer = Peer()
    peer.connect()
    message = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    peer.say(receiver("hub"))
    peer.container.nodes[0].to_send = [message]
    peer.connection.receive(encode_frame(1, credit(1).to_bytes()))
    frames = peer.heard()

    assert b"".join(payload for _, payload in frames) == message
    assert [t.more for t, _ in frames if isinstance(t, Transfer)] == [True] * (len(frames) - 1) + [False]


def test_draining_uses_the_credit_up(peer: Peer) -> None:
    peer.say(receiver("hub"))

    (flow,) = peer.say(credit(5, drain=True))
    assert isinstance(flow, Flow)
    assert (flow.delivery_count, flow.link_credit) == (5, 0)


def test_a_refused_link_is_attached_to_nothing_and_detached_with_the_reason(peer: Peer) -> None:
    attached, detached = peer.say(sender("nowhere"))

    assert isinstance(attached, Attach)
    assert (attached.source, attached.target) == (None, None)
    assert isinstance(detached, Detach)
    assert detached.closed
    assert "no such node" in str(detached.error)
    assert peer.say(Detach(handle=0, closed=True)) == [], "the client's half of the detach needs no answer"
    assert not peer.connection.closed
    assert len(peer.say(sender("hub"))) == 2, "the handle is free again"


def test_a_detach_is_answered_and_the_node_told(peer: Peer) -> None:
    peer.say(sender("hub"))

    assert peer.say(Detach(handle=0, closed=True)) == [Detach(handle=0, closed=True)]
    assert peer.container.nodes[0].detached


def test_our_detach_is_not_answered_twice(peer: Peer) -> None:
    peer.say(sender("hub"))
    peer.container.nodes[0].link.detach("amqp:link:stolen", "yours no more")
    ((detached, _),) = peer.heard()

    assert isinstance(detached, Detach)
    assert peer.container.nodes[0].detached
    assert peer.say(transfer(0), payload=b"was under way") == []
    assert peer.say(Detach(handle=0, closed=True)) == []


def test_frames_after_the_end_of_their_session_are_ignored(peer: Peer) -> None:
    """The SDK ends the session first and detaches its links then."""
    peer.say(sender("hub"))

    assert peer.say(End()) == [End()]
    assert peer.container.nodes[0].detached
    assert peer.say(Detach(handle=0, closed=True), transfer(0)) == []
    assert peer.say(Close(), channel=0) == [Close()]
    assert peer.connection.closed


@pytest.mark.parametrize(
    ("wrong", "condition"),
    [
        (lambda: BEGIN, "amqp:not-allowed"),
        (lambda: Open(container_id="again"), "amqp:not-allowed"),
        (lambda: transfer(0, handle=5), "amqp:session:unattached-handle"),
        (lambda: Detach(handle=5, closed=True), "amqp:session:unattached-handle"),
        (lambda: sender("hub", handle=256), "amqp:session:handle-in-use"),
    ],
)
def test_what_is_not_allowed_closes_the_connection_with_the_reason(
    peer: Peer, wrong: Callable[[], Performative], condition: str
) -> None:
    (closed,) = peer.say(wrong())

    assert isinstance(closed, Close)
    assert condition in str(closed.error)
    assert peer.connection.closed


def test_rubbish_closes_the_connection_and_tells_the_nodes(peer: Peer) -> None:
    peer.say(sender("hub"))
    peer.connection.receive(encode_frame(1, b"\xff\xff"))

    ((closed, _),) = peer.heard()
    assert isinstance(closed, Close)
    assert "amqp:decode-error" in str(closed.error)
    assert peer.container.nodes[0].detached


def test_empty_frames_go_both_ways(peer: Peer) -> None:
    peer.connection.receive(EMPTY_FRAME)
    assert peer.connection.take_output() == b""

    peer.connection.keep_alive()
    assert peer.connection.take_output() == EMPTY_FRAME


CONVERSATION = (
    SASL_HEADER
    + encode_frame(0, SaslInit(mechanism="ANONYMOUS").to_bytes(), 1)
    + AMQP_HEADER
    + encode_frame(0, Open(container_id="client").to_bytes())
    + encode_frame(1, BEGIN.to_bytes())
    + encode_frame(1, sender("hub", handle=0).to_bytes())
    + encode_frame(1, sender("nowhere", handle=1).to_bytes())
    + encode_frame(1, transfer(0).to_bytes() + b"message")
    + EMPTY_FRAME
    + encode_frame(1, Detach(handle=0, closed=True).to_bytes())
    + encode_frame(1, End().to_bytes())
    + encode_frame(0, Close().to_bytes())
)


def answers_to(pieces: list[bytes]) -> bytes:
    connection = Connection("server", Nodes(), lambda: None, 240_000)
    for piece in pieces:
        connection.receive(piece)
    assert connection.closed
    return connection.take_output()


@given(st.lists(st.integers(0, len(CONVERSATION)), max_size=30))
def test_the_answers_are_the_same_in_whatever_pieces_the_client_is_heard(cuts: list[int]) -> None:
    """Pipelined in one piece, byte by byte, or anything between."""
    edges = [0, *sorted(cuts), len(CONVERSATION)]
    pieces = [CONVERSATION[start:end] for start, end in pairwise(edges)]

    assert answers_to(pieces) == answers_to([CONVERSATION])
