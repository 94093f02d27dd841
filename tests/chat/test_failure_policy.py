"""The table of failures: every class has a row, a way to be reached, and a line for people."""

import json
import re

import httpx2
import openai
import pytest

from adapters.model_failures import (
    failure_of_broken_stream,
    failure_of_event,
    failure_of_exception,
    failure_of_response_type,
    failure_of_short_stream,
    failure_of_token,
)
from chat.errors import ModelFailure
from chat.failure_policy import (
    LONGEST_WAIT,
    MAX_CLAIMS,
    MAX_CRASHES,
    POLICY,
    FailureClass,
    ServiceWait,
    wait_before_retry,
)
from tests.running_stack import ROOT

REQUEST = httpx2.Request("POST", "https://example.invalid/openai/v1/chat/completions")
REPEATED = [failure_class for failure_class, row in POLICY.items() if row.waits]


def answered(status: int, code: str | None = None, **headers: str) -> ModelFailure:
    response = httpx2.Response(status, request=REQUEST, headers=headers)
    error = openai.APIStatusError("failed", response=response, body={"code": code})
    return failure_of_exception(error, "mini", None)


def test_every_class_has_a_row():
    assert set(POLICY) == set(FailureClass)


def test_every_class_but_a_crash_is_what_the_model_adapter_makes_of_something():
    """A crash is the one that nobody reports: the orchestrator sees the activity fail."""
    silent = openai.APITimeoutError(REQUEST)
    silent.__cause__ = httpx2.ReadTimeout("x")
    page = failure_of_response_type("text/html")
    assert page is not None
    made = [
        answered(429),
        answered(503),
        failure_of_token(ValueError()),
        failure_of_exception(silent, "mini", None),
        failure_of_broken_stream(httpx2.ReadError("x"), "mini", None),
        failure_of_short_stream(),
        failure_of_event({"error": {"code": "content_filter"}}, None),
        answered(400, "context_length_exceeded"),
        page,
        answered(422),
    ]
    assert {failure.failure_class for failure in made} == set(FailureClass) - {FailureClass.CRASHED}


def test_every_class_is_documented_as_it_is():
    page = (ROOT / "docs" / "failures.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \|([^|]*)\| ([^|]+) \| (\w+) \| (yes|no) \|$", page, re.MULTILINE)
    documented = {
        name: (json.loads(f"[{waits}]"), service_wait, status, retryable == "yes")
        for name, waits, service_wait, status, retryable in rows
    }
    assert documented == {
        failure_class.value: (list(row.waits), row.service_wait.value, row.status, row.retryable)
        for failure_class, row in POLICY.items()
    }
    assert f"at most {MAX_CLAIMS} attempts" in page
    assert f"more than {LONGEST_WAIT / 60:g} minutes" in page


@pytest.mark.parametrize("failure_class", FailureClass)
def test_a_budget_is_used_up_after_its_attempts_and_stays_so(failure_class: FailureClass):
    row = POLICY[failure_class]
    last = min(row.attempts, MAX_CLAIMS)
    waits = [wait_before_retry(failure_class, claims, None) for claims in range(1, MAX_CLAIMS + 3)]
    assert waits[: last - 1] == list(row.waits[: last - 1])
    assert set(waits[last - 1 :]) == {None}


def test_what_the_service_asks_for_counts_as_its_row_says():
    seen = {
        failure_class: [wait_before_retry(failure_class, 2, asked) for asked in (0, 3.0, 100)]
        for failure_class in REPEATED
    }
    for failure_class, waits in seen.items():
        own = POLICY[failure_class].waits[1]
        expected = {
            ServiceWait.COUNTS: [0, 3.0, 100],
            ServiceWait.AT_LEAST: [own, max(own, 3.0), 100],
            ServiceWait.IGNORED: [own, own, own],
        }
        assert waits == expected[POLICY[failure_class].service_wait], failure_class


def test_a_wait_that_nobody_would_sit_through_ends_the_turn():
    assert wait_before_retry(FailureClass.RATE_LIMITED, 1, LONGEST_WAIT) == LONGEST_WAIT
    assert wait_before_retry(FailureClass.RATE_LIMITED, 1, 86_400) is None
    assert wait_before_retry(FailureClass.TRANSIENT, 1, 86_400) is None


def test_a_wait_in_the_past_is_no_wait():
    assert wait_before_retry(FailureClass.RATE_LIMITED, 1, -5) == 0


def test_only_a_dead_worker_has_words_of_its_own():
    assert [name for name, row in POLICY.items() if row.words] == [FailureClass.CRASHED]
    assert MAX_CRASHES > MAX_CLAIMS
