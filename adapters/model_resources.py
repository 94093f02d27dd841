"""Two model resources as one: the deployments of the second go by its prefix.

The same model is often deployed under the same name in two regions; the prefix tells them apart wherever a deployment
is named: in settings, journals and log records.
"""

from contextlib import AbstractAsyncContextManager

from chat.completion import CompletionRequest
from chat.relay import ChatModel, CompletionStream

FALLBACK = "fallback/"


class TwoResources:
    """Sends each call to the resource that its deployment belongs to."""

    def __init__(self, first: ChatModel, second: ChatModel) -> None:
        self._first = first
        self._second = second

    def stream(self, request: CompletionRequest) -> AbstractAsyncContextManager[CompletionStream]:
        return self._of(request.deployment).stream(request)

    def reattach(
        self, request: CompletionRequest, response_id: str, after: int | None
    ) -> AbstractAsyncContextManager[CompletionStream]:
        return self._of(request.deployment).reattach(request, response_id, after)

    async def cancel(self, deployment: str, response_id: str) -> None:
        await self._of(deployment).cancel(deployment, response_id)

    def _of(self, deployment: str) -> ChatModel:
        return self._second if deployment.startswith(FALLBACK) else self._first
