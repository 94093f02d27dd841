"""Rate limits: a token bucket per deployment, as the service admits calls before it knows what they will cost.

The cost of a call is its prompt plus the answer it may ask for; requests are limited at 6 per 1,000 tokens a minute.
The default is so high that nobody meets it by accident; STAND_IN_MODEL_TOKENS_PER_MINUTE lowers it for all deployments.
"""

import math
from collections.abc import Callable, Mapping

from stand_in.azure_openai.errors import ModelApiError

DEFAULT_TOKENS_PER_MINUTE = 30_000_000
REQUESTS_PER_THOUSAND_TOKENS = 6
ASSUMED_ANSWER_TOKENS = 16  # when a call does not say how much it wants; what the service assumes for it


class RateLimited(ModelApiError):
    """This happened: the deployment's allowance of this minute is used up."""

    def __init__(self, wait: float, headers: dict[str, str]) -> None:
        seconds = math.ceil(wait)
        super().__init__(
            429,
            "429",
            "Requests to the ChatCompletions_Create Operation have exceeded the rate limit of this deployment. Please"
            f" retry after {seconds} second{'s' if seconds != 1 else ''}.",
            headers=headers | {"retry-after": str(seconds), "retry-after-ms": str(math.ceil(wait * 1000))},
        )


class _Bucket:
    def __init__(self, per_minute: float, now: float) -> None:
        self.per_minute = per_minute
        self.left = per_minute
        self.seen = now

    def refill(self, now: float) -> None:
        self.left = min(self.per_minute, self.left + (now - self.seen) * self.per_minute / 60)
        self.seen = now

    def wait_for(self, cost: float) -> float:
        return max(0.0, (min(cost, self.per_minute) - self.left) * 60 / self.per_minute)


class RateLimits:
    """What each deployment may still spend."""

    def __init__(self, environment: Mapping[str, str], clock: Callable[[], float]) -> None:
        text = environment.get("STAND_IN_MODEL_TOKENS_PER_MINUTE") or str(DEFAULT_TOKENS_PER_MINUTE)
        if not text.isdecimal() or int(text) < 1:
            raise ValueError(f"STAND_IN_MODEL_TOKENS_PER_MINUTE: {text} is not a whole number of at least 1")
        self._tokens_per_minute = int(text)
        self._clock = clock
        self._buckets: dict[str, tuple[_Bucket, _Bucket]] = {}

    def admit(self, deployment: str, prompt_tokens: int, answer_tokens: int | None) -> dict[str, str]:
        """Spend one call's estimate; the headers that tell what is left, or RateLimited."""
        now = self._clock()
        if deployment not in self._buckets:
            requests_per_minute = max(1.0, self._tokens_per_minute * REQUESTS_PER_THOUSAND_TOKENS / 1000)
            self._buckets[deployment] = (_Bucket(self._tokens_per_minute, now), _Bucket(requests_per_minute, now))
        tokens, requests = self._buckets[deployment]
        cost = prompt_tokens + (ASSUMED_ANSWER_TOKENS if answer_tokens is None else answer_tokens)
        for bucket in (tokens, requests):
            bucket.refill(now)
        wait = max(tokens.wait_for(cost), requests.wait_for(1))
        if wait > 0:
            raise RateLimited(wait, _headers(tokens, requests) | {"x-ratelimit-reset-tokens": f"{math.ceil(wait)}s"})
        tokens.left -= cost
        requests.left -= 1
        return _headers(tokens, requests)

    def reset(self) -> None:
        self._buckets.clear()


def _headers(tokens: _Bucket, requests: _Bucket) -> dict[str, str]:
    return {
        "x-ratelimit-limit-requests": str(int(requests.per_minute)),
        "x-ratelimit-limit-tokens": str(int(tokens.per_minute)),
        "x-ratelimit-remaining-requests": str(max(0, int(requests.left))),
        "x-ratelimit-remaining-tokens": str(max(0, int(tokens.left))),
    }
