"""Log records: the seed's fields, and no record is ever too large."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from chat import records
from chat.conversation import FinishedTurn, Prompt
from chat.journal import folded_to_end
from chat.log_record import log_record
from chat.record_size import ROOM_FOR_PROPERTIES, encoded
from chat.records import Begin, Claim, End, Frame, Stop, UpstreamSeen

TURN = "turn-" + "a" * 32 + "-" + "b" * 32


def journal(text: str = "Because.", *after: records.Record) -> bytes:
    request = {"prompt": "Why?", "deployment": "gpt-x"}
    timings: dict[str, int | None] = {
        "queueMs": 5,
        "timeToFirstChunkMs": 300,
        "streamingDurationMs": 700,
        "latencyMs": 1000,
    }
    return records.encode(
        Begin(TURN, "talk", "owner", "user-1", request, "hash", 1_800_000_000_000),
        Claim("w", 1, 1_800_000_000_005),
        UpstreamSeen("w", "gpt-x", "Japan East", "req-1", "chatcmpl-1", "v1", "gpt-x-2026", "Be brief.", [], 1, 2),
        Frame("w", 1, 1, 1, 0, text, 3),
        End(
            "w",
            "completed",
            1,
            "stop",
            len(text),
            "x",
            None,
            {"total_tokens": 3},
            timings,
            None,
            None,
            0,
            1_800_000_001_005,
        ),
        *after,
    )


def test_the_record_holds_every_seed_field() -> None:
    record = log_record(folded_to_end(journal()), Prompt("Be brief.", (), "Why?"))
    assert record["type"] == "stream_completion"
    assert record["prompt"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    assert (record["content"], record["model"], record["region"]) == ("Because.", "gpt-x-2026", "Japan East")
    assert record["latency_ms"] == record["time_to_first_chunk_ms"] + record["streaming_duration_ms"]
    assert record["timestamp"] == "2027-01-15T08:00:01.005Z"
    assert record["conversation_id"] == "talk"


def test_copies_of_a_record_are_equal_whatever_was_written_after_the_end() -> None:
    late = (Stop(9), Frame("x", 1, 2, 2, 8, "late", 9))
    copies = {
        encoded(log_record(folded_to_end(journal("a", *tail)), Prompt("", (), "q")), 10**6) for tail in ((), late)
    }
    assert len(copies) == 1


@settings(deadline=None)
@given(st.text(max_size=400), st.text(max_size=400), st.integers(1_000, 3_000))
def test_a_record_is_cut_but_never_dropped(prompt: str, content: str, room: int) -> None:
    record = log_record(folded_to_end(journal()), Prompt("s" * 50, (), prompt)) | {"content": content}
    body = encoded(record, room + ROOM_FOR_PROPERTIES)
    assert len(body) <= room
    cut = json.loads(body)
    assert content.startswith(cut["content"])
    assert prompt.startswith(cut["prompt"][-1]["content"])
    assert cut["truncated"] or (cut["content"], len(cut["prompt"])) == (content, 2)


def test_the_oldest_messages_of_the_prompt_go_first():
    earlier = tuple(
        FinishedTurn(f"t{n}", n, "completed", f"question {n} " * 20, f"answer {n} " * 20, 0, 0) for n in range(4)
    )
    record = log_record(folded_to_end(journal()), Prompt("system", earlier, "the question"))
    body = encoded(record, len(json.dumps(record)) - 200 + ROOM_FOR_PROPERTIES)
    kept = json.loads(body)
    assert kept["truncated"]
    assert kept["prompt"] == record["prompt"][len(record["prompt"]) - len(kept["prompt"]) :]
    assert 1 < len(kept["prompt"]) < len(record["prompt"])
    assert kept["content"] == "Because."
