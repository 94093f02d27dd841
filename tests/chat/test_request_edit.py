"""The proxy's one edit: usage is asked for, and not a byte more is changed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.json_members import last_member, members, with_member, without_member
from chat.request_edit import PassedOn, asking_for_usage

names = st.one_of(st.sampled_from(["a", "stream", "ü", 'quo"te', "back\\slash", ""]), st.text(max_size=5))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(names, values, max_size=5)
styles = st.sampled_from(
    [
        {"separators": (",", ":"), "ensure_ascii": False},
        {"separators": (" , ", " : ")},
        {"indent": 2, "ensure_ascii": False},
        {"indent": "\t"},
    ]
)


def edited(body: str) -> PassedOn:
    return asking_for_usage(body.encode(), json.loads(body))


@pytest.mark.parametrize(
    ("body", "passed_on"),
    [
        ('{"stream":true}', '{"stream":true,"stream_options":{"include_usage":true}}'),
        ('{ "stream" : true }\n', '{ "stream" : true,"stream_options":{"include_usage":true} }\n'),
        ('{"stream_options":null,"stream":true}', '{"stream_options":{"include_usage":true},"stream":true}'),
        ('{"stream":true,"stream_options":{}}', '{"stream":true,"stream_options":{"include_usage":true}}'),
        ('{"stream":true,"stream_options":{"x":1}}', '{"stream":true,"stream_options":{"x":1,"include_usage":true}}'),
        (
            '{"stream":true,"stream_options":{"include_usage":false}}',
            '{"stream":true,"stream_options":{"include_usage":true}}',
        ),
        # What a parser would write differently stays: a large number, an escape, a name that stands twice.
        (
            '{"seed":1E400,"user":"\\u00e9","stream":false,"stream":true}',
            '{"seed":1E400,"user":"\\u00e9","stream":false,"stream":true,"stream_options":{"include_usage":true}}',
        ),
    ],
)
def test_usage_is_asked_for_and_the_rest_stays(body: str, passed_on: str):
    assert edited(body) == PassedOn(passed_on.encode(), usage_added=True)


@pytest.mark.parametrize(
    "body",
    [
        '{"messages":[]}',
        '{"stream":false}',
        '{"stream":"true"}',
        '{"stream":true,"stream_options":{"include_usage":true}}',
        '{"stream":true,"stream_options":[]}',
        '{"stream":true,"stream_options":{"include_usage":"yes"}}',
    ],
)
def test_what_needs_no_edit_or_is_wrong_stays_as_it_is(body: str):
    assert edited(body) == PassedOn(body.encode(), usage_added=False)


@given(objects, styles)
def test_members_are_found_where_they_stand(value: dict[str, Any], style: dict[str, Any]):
    text = json.dumps(value, **style)

    found = list(members(text))

    assert {member.name: member.value for member in found} == value
    for member in found:
        assert json.loads(text[member.value_start : member.end]) == member.value
        assert json.loads(without_member(text, member)) == {k: v for k, v in value.items() if k != member.name}


@given(objects, styles)
def test_a_member_is_added_behind_all_others(value: dict[str, Any], style: dict[str, Any]):
    text = with_member(json.dumps(value, **style), "new", "[1]")

    assert json.loads(text) == value | {"new": [1]}
    added = last_member(text, "new")
    assert added is not None
    assert json.loads(without_member(text, added)) == {k: v for k, v in value.items() if k != "new"}


@pytest.mark.parametrize("text", ["", "[]", '"{}"', "{", '{"a"', '{"a":', '{"a":1', '{"a":1,', '{"a":1,}', "{a:1}"])
def test_what_is_no_object_is_refused(text: str):
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's own errors are ValueErrors of many words
        list(members(text))
