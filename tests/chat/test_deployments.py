"""Failover: what failed is not asked again while there is another."""

import pytest

from chat.deployments import Deployments, choose_deployment, wait_after
from chat.errors import ModelFailure
from chat.failure_policy import MAX_CLAIMS, FailureClass
from chat.records import Frame, Record, UpstreamSeen, Wait
from chat.upstream_history import UpstreamHistory

THREE = Deployments(fallbacks=("b", "c", "a"))


def failed_on(deployment: str) -> Record:
    return Wait("run", 1, "429", 1, "rate_limited", deployment, 0)


def history(*found: Record) -> UpstreamHistory:
    history = UpstreamHistory()
    for record in found:
        history.apply(record)
    return history


def wait(failure_class: FailureClass, failed: str, *found: Record, claims: int = 1, retry_after: float | None = None):
    failure = ModelFailure(failure_class, "code", "message", retry_after=retry_after)
    return wait_after(failure, failed, "a", THREE, history(*found), claims)


def test_each_failure_leads_to_the_next_deployment_and_round_again() -> None:
    assert THREE.chain("a") == ("a", "b", "c")
    for number, expected in enumerate("abcab"):
        waits = [failed_on("abc"[place % 3]) for place in range(number)]
        assert choose_deployment("a", THREE, history(*waits)) == expected


def test_a_deployment_that_is_no_longer_in_the_chain_leads_back_to_its_beginning() -> None:
    assert choose_deployment("a", THREE, history(failed_on("gone"))) == "a"
    assert choose_deployment("a", THREE, history(Wait("run", 1, "429", 1))) == "a"  # as older versions wrote it


@pytest.mark.parametrize("failure_class", [FailureClass.RATE_LIMITED, FailureClass.TRANSIENT, FailureClass.STALLED])
def test_the_next_deployment_is_asked_at_once_and_only_a_whole_round_waits(failure_class: FailureClass) -> None:
    assert wait(failure_class, "a", retry_after=86400) == 0
    assert wait(failure_class, "b", failed_on("a")) == 0
    assert wait(FailureClass.RATE_LIMITED, "c", failed_on("a"), failed_on("b"), claims=3, retry_after=7.5) == 7.5


@pytest.mark.parametrize("failure_class", [FailureClass.FILTERED, FailureClass.INVALID, FailureClass.TOO_LONG])
def test_what_is_wrong_with_the_request_is_wrong_everywhere(failure_class: FailureClass) -> None:
    assert wait(failure_class, "a") is None


def test_after_the_last_claim_nothing_is_asked() -> None:
    assert wait(FailureClass.TRANSIENT, "a", claims=MAX_CLAIMS) is None


def test_a_response_that_runs_on_is_tried_once_more_where_it_runs() -> None:
    upstream = UpstreamSeen("run", "a", "", None, "resp-1", "v1", None, "", [], 1, 2, None, True)
    running = (upstream, Frame("run", 1, 1, 1, 0, "abc", 3, 7))
    assert wait(FailureClass.TRANSIENT, "a", *running) == 0.5
    assert choose_deployment("a", THREE, history(*running, failed_on("a"))) == "a"
    assert wait(FailureClass.TRANSIENT, "a", *running, failed_on("a"), claims=2) == 0
    assert choose_deployment("a", THREE, history(*running, failed_on("a"), failed_on("a"))) == "b"


def test_without_a_fallback_the_same_deployment_is_asked_after_the_wait() -> None:
    alone, failure = Deployments(), ModelFailure(FailureClass.RATE_LIMITED, "429", "", retry_after=3.0)
    assert wait_after(failure, "a", "a", alone, history(), 1) == 3.0
    assert choose_deployment("a", alone, history(failed_on("a"))) == "a"
