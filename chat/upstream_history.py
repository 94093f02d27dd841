"""The upstream history of a turn: what its journal tells of the models that were asked, folded in order.

It answers what the next attempt has to know: who wrote the stored text, whether a response is still there to re-attach
to, which deployments failed, and how many tokens were paid for in vain.
"""

from dataclasses import dataclass, field

from chat.completion import token_quarters, tokens_of
from chat.records import Frame, Record, Redact, Restart, UpstreamSeen, Wait
from chat.rung import Rung


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where a background response can be re-attached to.

    `characters` (code points) of the stored text were there when event `sequence` had been written; None means from the
    response's first event on, whose text begins where the stored text does.
    """

    response_id: str
    deployment: str
    sequence: int | None
    characters: int


@dataclass(slots=True)
class UpstreamHistory:
    """What is known up to a position of the journal. `deployments` has each that answered once, in order."""

    deployments: list[str] = field(default_factory=list)
    upstream: UpstreamSeen | None = None
    resume: ResumePoint | None = None
    written_by: str | None = None  # the deployment of the first text of this generation
    continued: bool = False  # a second answer was spliced to it: nobody can repeat the text as a whole
    last_wait: Wait | None = None
    waits_since_text: int = 0
    wasted_tokens: int = 0
    _characters: int = 0
    _quarters: int = 0  # of tokens, estimated

    def apply(self, record: Record) -> None:
        """Take in the next record of a writer."""
        match record:
            case UpstreamSeen():
                self._asked(record)
            case Frame():
                self._wrote(record)
            case Wait():
                self.last_wait = record
                self.waits_since_text += 1
                self.wasted_tokens += record.wasted_tokens or 0
            case Restart():
                self.wasted_tokens += tokens_of(self._quarters)
                self._characters, self._quarters, self.written_by, self.continued = 0, 0, None, False
            case Redact():
                self.resume = None

    @property
    def running_response(self) -> UpstreamSeen | None:
        """The background response that was asked for last, if there was one: it may still be running."""
        return self.upstream if self.upstream is not None and self.upstream.background else None

    def _asked(self, record: UpstreamSeen) -> None:
        self.upstream = record
        self.wasted_tokens += record.wasted_tokens or 0
        if record.deployment not in self.deployments:
            self.deployments.append(record.deployment)
        if record.rung == Rung.REATTACHED:
            return  # the same response: what was known of it holds
        self.resume = None
        # A continuation, or a new text instead of the stored one, has no known place in it before its first frame.
        if record.background and record.response_id and record.rung in (None, Rung.VERIFIED):
            self.resume = ResumePoint(record.response_id, record.deployment, None, 0)

    def _wrote(self, frame: Frame) -> None:
        self._characters += len(frame.text)
        self._quarters += token_quarters(frame.text)
        self.waits_since_text = 0
        asked = self.upstream
        if asked is None:
            return
        self.written_by = self.written_by or asked.deployment
        self.continued = self.continued or asked.rung == Rung.CONTINUED
        if asked.background and asked.response_id and frame.upstream_seq is not None:
            self.resume = ResumePoint(asked.response_id, asked.deployment, frame.upstream_seq, self._characters)
