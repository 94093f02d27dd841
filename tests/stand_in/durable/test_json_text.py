"""JSON as the extension writes it; the literals were recorded from it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stand_in.durable.json_text import compact, indented, parse, reserialized, value_or_text


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1e+30", "1E+30"),
        ("1.5e-07", "1.5E-07"),
        ("-0.0", "-0.0"),
        ("1.0", "1.0"),
        ("0.1", "0.1"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("1.7976931348623157e+308", "1.7976931348623157E+308"),
        ("1e15", "1E+15"),
        ("123456789012345.6", "123456789012345.6"),
        ("0.0001", "0.0001"),
        ("0.00001", "1E-05"),
        ("NaN", '"NaN"'),
        ("Infinity", '"Infinity"'),
        ("-Infinity", '"-Infinity"'),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ('"\\u6f22\\ud83d\\ude80"', '"漢🚀"'),
        ('"a\\u2028b\\u0000"', '"a\\u2028b\\u0000"'),
        ('"a\\ud800b"', '"a�b"'),
        ('{"a": 1, "a": 2}', '{"a":2}'),
        ('{"a":1 /* c */}', '{"a":1}'),
        ('"no // comment"', '"no // comment"'),
        ('"2026-01-02T03:04:05.100+09:00"', '"2026-01-02T03:04:05.100+09:00"'),
    ],
)
def test_values_are_written_as_dotnet_writes_them(written: str, read: str):
    assert reserialized(written) == read


def test_text_that_is_no_json_becomes_a_string():
    assert reserialized("plain") == '"plain"'
    assert value_or_text("plain") == "plain"
    assert value_or_text(None) is None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_written_is_read_again_as_the_same_value(value: object):
    """Nothing but lone surrogates, which UTF-8 cannot carry, is lost; hypothesis makes none."""
    assert parse(compact(value)) == value
    assert parse(indented(value)) == json.loads(json.dumps(value))
