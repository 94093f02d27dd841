"""Deployments: what the operator says of them, and which one an attempt asks.

Failover: after a rate limit, a lost connection or a silence on one deployment the next attempt asks the next in the
chain, at once; the stored text is kept. When all of them have failed in a row, the wait of the failure's class applies
and the chain begins again. A response that goes on at the service without us is worth one more try where it is.
"""

from dataclasses import dataclass
from typing import NamedTuple

from chat.errors import ModelFailure
from chat.failure_policy import MAX_CLAIMS, FailureClass, wait_before_retry
from chat.upstream_history import UpstreamHistory

FAILS_OVER = frozenset({FailureClass.RATE_LIMITED, FailureClass.TRANSIENT, FailureClass.CUT, FailureClass.STALLED})


@dataclass(frozen=True, slots=True)
class Deployments:
    """What the settings say. `repeatable` ones give the same answer to the same prompt, `background` ones are streamed
    through the Responses API, which can be re-attached to, `reasoning` ones have their own parameters."""

    fallbacks: tuple[str, ...] = ()
    repeatable: frozenset[str] = frozenset()
    background: frozenset[str] = frozenset()
    reasoning: frozenset[str] = frozenset()

    def chain(self, requested: str) -> tuple[str, ...]:
        """The deployments that may answer a turn, in the order in which they are asked."""
        return tuple(dict.fromkeys((requested, *self.fallbacks)))


class Next(NamedTuple):
    """Where the next attempt goes. `at_once`: to one that has not failed yet in this round."""

    deployment: str
    at_once: bool


def choose_deployment(requested: str, deployments: Deployments, history: UpstreamHistory) -> str:
    """The deployment that this attempt asks. A run that crashed says nothing against the one it had asked."""
    wait = history.last_wait
    if wait is None or wait.deployment is None:
        return requested
    return after_failure(wait.deployment, requested, deployments, history, history.waits_since_text).deployment


def after_failure(
    failed: str, requested: str, deployments: Deployments, history: UpstreamHistory, waits_since_text: int
) -> Next:
    """The one to ask after a failure of `failed`, the n-th since there was new text."""
    chain = deployments.chain(requested)
    if history.resume and history.resume.deployment == failed and waits_since_text <= 1:
        return Next(failed, at_once=False)
    following = chain.index(failed) + 1 if failed in chain else 0
    is_next = 0 < following < len(chain)
    return Next(chain[following] if is_next else chain[0], at_once=is_next)


def wait_after(
    failure: ModelFailure, failed: str, requested: str, deployments: Deployments, history: UpstreamHistory, claims: int
) -> float | None:
    """Seconds until the next attempt, after a failure of `failed` in the run with claim number `claims`; None: none."""
    if failure.failure_class in FAILS_OVER and claims < MAX_CLAIMS:
        following = after_failure(failed, requested, deployments, history, history.waits_since_text + 1)
        if following.at_once:
            return 0.0
    return wait_before_retry(failure.failure_class, claims, failure.retry_after)
