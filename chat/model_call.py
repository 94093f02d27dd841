"""One call of the model: what has come of it so far, and what it cost."""

from typing import Any

from chat.completion import Chunk, CompletionRequest, Upstream, token_quarters, tokens_of
from chat.frames import TextJoiner
from chat.recovery import Matcher
from chat.rung import Rung


class ModelCall:
    """Takes the chunks of one answer; gives the text that is new. Raises NoMatch when it does not go on with ours."""

    def __init__(self, request: CompletionRequest, rung: Rung | None, matcher: Matcher, called_at: int) -> None:
        self.request = request
        self.rung = rung
        self.called_at = called_at
        self.upstream: Upstream | None = None
        self.response_id: str | None = None
        self.model: str | None = None
        self.finish_reason: str | None = None
        self.usage: dict[str, Any] | None = None
        self.filters: dict[str, Any] | None = None
        # The event after whose text nothing is held back, None when something is.
        self.sequence: int | None = None
        self._matcher = matcher
        self._joiner = TextJoiner()
        self._offsets: dict[str, int] | None = None
        self._received = 0  # quarters of a token, estimated
        self._new = 0

    @property
    def spoke(self) -> bool:
        """Whether new text came out."""
        return self._new > 0

    @property
    def covered(self) -> tuple[int, int] | None:
        """The code points of the text that the asynchronous filter wants retracted."""
        if self._offsets is None:
            return None
        shift = self._matcher.shift
        start, end = self._offsets.get("start_offset", 0), self._offsets.get("end_offset", 0)
        return max(0, start + shift), max(0, end + shift)

    @property
    def wasted_tokens(self) -> int:
        """Completion tokens whose text was thrown away: the service's count, or an estimate where it gave none. What
        comes twice from a response that was re-attached to was paid for once."""
        if self.rung is Rung.REATTACHED:
            return 0
        thrown = self._received - self._new
        tokens = (self.usage or {}).get("completion_tokens")
        if isinstance(tokens, int) and self._received:
            return round(tokens * thrown / self._received)
        return tokens_of(thrown)

    def take(self, chunk: Chunk) -> str:
        self.response_id = self.response_id or chunk.response_id
        self.model = self.model or chunk.model
        self.usage = chunk.usage or self.usage
        # An annotation may follow the chunk that says `stop`; what the filter says counts more.
        if chunk.finish_reason and self.finish_reason != "content_filter":
            self.finish_reason = chunk.finish_reason
        if chunk.prompt_filter:
            self.filters = (self.filters or {}) | {"prompt": chunk.prompt_filter}
        if chunk.content_filter:
            self.filters = (self.filters or {}) | {"completion": chunk.content_filter}
        if chunk.content_filter_offsets and chunk.finish_reason == "content_filter":
            self._offsets = chunk.content_filter_offsets
        if not chunk.text:
            return ""
        new = self._matched(self._joiner.feed(chunk.text))
        is_clean = not self._joiner.holds and not self._matcher.undecided
        self.sequence = chunk.sequence if is_clean else None
        return new

    def finish(self) -> str:
        """The answer is whole: what was held back is text after all."""
        new = self._matched(self._joiner.finish())
        if self.finish_reason == "content_filter" and self._matcher.undecided:
            return new  # the filter ends the answer, wherever that was: what is stored stays
        last = self._matcher.finish()
        self._new += token_quarters(last)
        return new + last

    def _matched(self, joined: str) -> str:
        if not joined:
            return ""
        self._received += token_quarters(joined)
        new = self._matcher.feed(joined)
        self._new += token_quarters(new)
        return new
