"""Append blobs: create, append, read to the end.

This is the app's hottest path, up to 640 appends a second in a process that also does everything else, and the SDK's
pipeline costs 1.0 to 1.4 ms of CPU an append where this costs 0.2 (`python -m bench.blob_appends` measures both). It
holds one more thing that the SDK cannot: an append is sent once.
"""

import asyncio
import time

from adapters.blob_requests import BlobRequests, StorageRefused, refusal
from chat.errors import StorageUnavailable

_PAUSES_BEFORE_READING_AGAIN_S = (0.05, 0.25, 1.0)


class AppendBlobs:
    """The append blobs of one container. Belongs to one event loop."""

    def __init__(self, requests: BlobRequests) -> None:
        self._requests = requests

    async def create(self, name: str, timeout: float) -> bool:
        """Create an empty blob; False if it is there. JournalMissing: the container is not."""
        headers = {"x-ms-blob-type": "AppendBlob", "If-None-Match": "*"}
        status, answer, _ = await self._requests.send_once("PUT", name, {}, headers, b"", timeout)
        if status == 201:
            return True
        if status == 409 and answer.get("x-ms-error-code") == "BlobAlreadyExists":
            return False
        raise refusal(status, answer)

    async def append(self, name: str, data: bytes, position: int | None, timeout: float) -> int:
        """Append at the end, which must be `position` unless that is None; return the new end."""
        headers = {} if position is None else {"x-ms-blob-condition-appendpos": str(position)}
        status, answer, _ = await self._requests.send_once("PUT", name, {"comp": "appendblock"}, headers, data, timeout)
        if status != 201:
            raise refusal(status, answer)
        return int(answer["x-ms-blob-append-offset"]) + len(data)

    async def read(self, name: str, start: int, timeout: float) -> bytes:
        """The bytes from `start` on, none if it is the end. Tries again, briefly, while the service is unavailable."""
        headers = {"x-ms-range": f"bytes={start}-"} if start else {}
        deadline = time.monotonic() + timeout
        for pause in (*_PAUSES_BEFORE_READING_AGAIN_S, None):
            remaining = deadline - time.monotonic()
            try:
                status, answer, body = await self._requests.send("GET", name, {}, headers, b"", remaining)
                if status in (200, 206):
                    return body
                if status == 416:
                    return b""
                raise refusal(status, answer)
            except StorageUnavailable as error:
                refused = isinstance(error, StorageRefused)
                if refused or pause is None or time.monotonic() + pause >= deadline:
                    raise
                await asyncio.sleep(pause)
        raise AssertionError("the last round returns or raises")
