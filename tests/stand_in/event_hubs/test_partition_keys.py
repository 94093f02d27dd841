"""Which partition a key belongs to."""

from azure.eventhub._buffered_producer._partition_resolver import generate_hash_code
from hypothesis import given
from hypothesis import strategies as st

from stand_in.event_hubs.partition_keys import _hashlittle2, partition_of


def test_the_hash_is_that_of_its_author() -> None:
    """The vector that Bob Jenkins' lookup3.c prints for hashlittle2."""
    assert _hashlittle2(b"Four score and seven years ago") == (0x17770551, 0xCE7226E6)
    assert _hashlittle2(b"") == (0xDEADBEEF, 0xDEADBEEF)


@given(st.text(st.characters(max_codepoint=127), min_size=1, max_size=60), st.integers(1, 32))
def test_the_partition_is_that_of_the_clients_of_the_service(key: str, count: int) -> None:
    """The SDK's 16-bit hash, with the remainder that .NET and Java take: of the absolute value."""
    assert partition_of(key, count) == abs(generate_hash_code(key)) % count  # type: ignore[no-untyped-call]
