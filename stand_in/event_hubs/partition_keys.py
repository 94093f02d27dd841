"""Which partition a key belongs to: Bob Jenkins' lookup3 (hashlittle2), as the service's clients have it.

The .NET and Java clients port the service's code: the two 32-bit halves XORed, cut to 16 bits, taken as signed, then
the absolute value of the remainder. (The Python client's buffered mode uses Python's remainder, which is another
partition for negative hashes; it names the partition itself, so only the order across both ways of sending is lost.)
"""

_MASK = 0xFFFFFFFF


def partition_of(key: str, count: int) -> int:
    """Return the partition, 0 to count - 1, that events with this key go to."""
    low, high = _hashlittle2(key.encode("utf-8"))
    hashed = (low ^ high) & 0xFFFF
    signed = hashed - 0x10000 if hashed & 0x8000 else hashed
    return abs(signed) % count  # the same as the absolute value of a truncating remainder


def _rotate(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (32 - bits))) & _MASK


def _hashlittle2(data: bytes) -> tuple[int, int]:
    a = b = c = (0xDEADBEEF + len(data)) & _MASK
    position = 0
    while len(data) - position > 12:
        a, b, c = _mix(*_add_block(a, b, c, data[position : position + 12]))
        position += 12
    rest = data[position:]
    if not rest:
        return c, b
    a, b, c = _final(*_add_block(a, b, c, rest.ljust(12, b"\x00")))
    return c, b


def _add_block(a: int, b: int, c: int, block: bytes) -> tuple[int, int, int]:
    return (
        (a + int.from_bytes(block[0:4], "little")) & _MASK,
        (b + int.from_bytes(block[4:8], "little")) & _MASK,
        (c + int.from_bytes(block[8:12], "little")) & _MASK,
    )


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits_a, bits_b, bits_c in ((4, 6, 8), (16, 19, 4)):
        a = ((a - c) & _MASK) ^ _rotate(c, bits_a)
        c = (c + b) & _MASK
        b = ((b - a) & _MASK) ^ _rotate(a, bits_b)
        a = (a + c) & _MASK
        c = ((c - b) & _MASK) ^ _rotate(b, bits_c)
        b = (b + a) & _MASK
    return a, b, c


def _final(a: int, b: int, c: int) -> tuple[int, int, int]:
    c = ((c ^ b) - _rotate(b, 14)) & _MASK
    a = ((a ^ c) - _rotate(c, 11)) & _MASK
    b = ((b ^ a) - _rotate(a, 25)) & _MASK
    c = ((c ^ b) - _rotate(b, 16)) & _MASK
    a = ((a ^ c) - _rotate(c, 4)) & _MASK
    b = ((b ^ a) - _rotate(a, 14)) & _MASK
    c = ((c ^ b) - _rotate(b, 24)) & _MASK
    return a, b, c
