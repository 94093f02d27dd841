"""The journals' place: one append blob per turn, one per conversation for the order of its turns, and markers.

    turns/<conversation key>/<turn id>    the records of a turn
    conversations/<conversation key>      turn ids, one a line, in the order of acceptance; the first occurrence counts
    usage/<day>/<user>                    which turns a user had on a day (chat/usage.py)
    unlogged/<turn id>                    a marker, there as long as the turn's record is not delivered

What is written stays written: storage answers an append when it is durable. An append is never repeated here: after
StorageUnavailable nobody knows whether it was applied, or will be, and the caller finds out by reading. What is hot
goes over plain REST (append_blobs.py), the rest through the SDK.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Self, TypeVar

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.storage.blob.aio import ContainerClient, LinearRetry

from adapters.append_blobs import AppendBlobs
from adapters.blob_authorization import Authorization, BearerToken, SharedKey
from adapters.blob_requests import API_VERSION, BlobRequests
from chat.errors import JournalMissing, StorageUnavailable

Item = TypeVar("Item")
CONTAINER = "journals"
# An append takes 5 to 40 ms. Whoever waits longer than this is better served by reading what happened.
APPEND_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 15.0
_MARKERS = "unlogged/"
_USAGE = "usage/"
REMEMBERED_ORDERS = 100_000  # ids of 32 characters
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
# What the word UseDevelopmentStorage=true stands for in every Azure SDK but Python's: the emulator's published account.
_DEVELOPMENT_STORAGE = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;"
)


class BlobJournal:
    """The journals in one container. Belongs to the event loop in which it is first used."""

    def __init__(
        self,
        container: ContainerClient,
        authorization: Authorization,
        *,
        append_timeout: float = APPEND_TIMEOUT_S,
        read_timeout: float = READ_TIMEOUT_S,
    ) -> None:
        self._container = container
        self._requests = BlobRequests(container.url, authorization)
        self._blobs = AppendBlobs(self._requests)
        self._append_timeout = append_timeout
        self._read_timeout = read_timeout
        self._prepared = False
        self._orders: set[str] = set()

    @classmethod
    def from_connection_string(
        cls,
        connection_string: str,
        container: str = CONTAINER,
        *,
        append_timeout: float = APPEND_TIMEOUT_S,
        read_timeout: float = READ_TIMEOUT_S,
    ) -> Self:
        """With the account's key. Raises ValueError if the string has none."""
        parts = _parse_connection_string(connection_string)
        if parts.get("usedevelopmentstorage", "").lower() == "true":
            connection_string = _DEVELOPMENT_STORAGE
            parts = _parse_connection_string(connection_string)
        try:
            authorization = SharedKey(parts["accountname"], parts["accountkey"])
        except (KeyError, ValueError):
            raise ValueError("The storage connection string needs AccountName and AccountKey.") from None
        client = ContainerClient.from_connection_string(
            connection_string, container, retry_policy=_retries(), api_version=API_VERSION
        )
        return cls(client, authorization, append_timeout=append_timeout, read_timeout=read_timeout)

    @classmethod
    def from_account_url(
        cls,
        account_url: str,
        credential: AsyncTokenCredential,
        container: str = CONTAINER,
        *,
        append_timeout: float = APPEND_TIMEOUT_S,
        read_timeout: float = READ_TIMEOUT_S,
    ) -> Self:
        """With tokens, for example DefaultAzureCredential's. The credential stays the caller's to close.

        Raises ValueError for an address without TLS, where anybody on the way could take the token.
        """
        if not account_url.startswith("https://"):
            raise ValueError(f"A token is sent to https addresses only, not to {account_url!r}.")
        client = ContainerClient(
            account_url, container, credential=credential, retry_policy=_retries(), api_version=API_VERSION
        )
        return cls(client, BearerToken(credential), append_timeout=append_timeout, read_timeout=read_timeout)

    @property
    def requests(self) -> BlobRequests:
        """The way to other blobs of the container."""
        return self._requests

    @property
    def url(self) -> str:
        """The container's address."""
        return self._container.url

    async def prepare(self, *, again: bool = False) -> None:
        """Create the container if it is missing; asks the service once, unless it was found to be gone."""
        if self._prepared and not again:
            return
        with _translated():
            try:
                async with asyncio.timeout(self._append_timeout):
                    await self._container.create_container()
            except HttpResponseError as error:
                if getattr(error, "error_code", None) != "ContainerAlreadyExists":
                    raise
        self._prepared = True

    async def create(self, conversation_key: str, turn_id: str) -> bool:
        """Create the empty journal of a turn; False if it is there. It may be there from a try that seemed to fail."""
        return await self._create(_turn(conversation_key, turn_id))

    async def append(self, conversation_key: str, turn_id: str, data: bytes, position: int | None) -> int:
        """Append at the end, which must be `position` unless that is None; return the new end, in bytes.

        Raises JournalMoved (it ends elsewhere, nothing was written), JournalMissing, or StorageUnavailable (nobody
        knows whether it was written).
        """
        return await self._blobs.append(_turn(conversation_key, turn_id), data, position, self._append_timeout)

    async def read(self, conversation_key: str, turn_id: str, start: int = 0) -> bytes:
        """The bytes from `start` on, none if it is the end. Raises JournalMissing or StorageUnavailable."""
        return await self._blobs.read(_turn(conversation_key, turn_id), start, self._read_timeout)

    async def prepare_order(self, conversation_key: str) -> None:
        """Make the blob of the conversation's order, if this process has not seen it: `append_order` then finds it."""
        if conversation_key not in self._orders:
            await self._create(_order(conversation_key))
            if len(self._orders) >= REMEMBERED_ORDERS:
                self._orders.clear()
            self._orders.add(conversation_key)

    async def append_order(self, conversation_key: str, turn_id: str) -> None:
        """Give the turn its place in the conversation. Doing it again changes nothing: the first place counts."""
        name, line = _order(conversation_key), f"{_part(turn_id)}\n".encode()
        try:
            await self._blobs.append(name, line, None, self._append_timeout)
        except JournalMissing:
            await self._create(name)
            await self._blobs.append(name, line, None, self._append_timeout)

    async def read_order(self, conversation_key: str) -> list[str]:
        """The conversation's turn ids in order."""
        try:
            text = await self._blobs.read(_order(conversation_key), 0, self._read_timeout)
        except JournalMissing:
            return []
        return list(dict.fromkeys(text.decode("utf-8").split()))

    async def append_usage(self, user: str, day: int, data: bytes, position: int | None) -> int:
        """Append to what is known of a user's turns on a day; like `append`, but the first append makes the blob."""
        name = _usage(user, day)
        if position == 0:  # most likely it is not there: one request less than to find that out
            await self._create(name)
        try:
            return await self._blobs.append(name, data, position, self._append_timeout)
        except JournalMissing:
            await self._create(name)
            return await self._blobs.append(name, data, position, self._append_timeout)

    async def read_usage(self, user: str, day: int, start: int) -> bytes:
        """The bytes from `start` on, none if there is nothing yet."""
        try:
            return await self._blobs.read(_usage(user, day), start, self._read_timeout)
        except JournalMissing:
            return b""

    async def usages(self, day: int) -> AsyncIterator[tuple[str, int]]:
        """Each user with turns on that day, and the size of what is known of them in bytes."""
        prefix = f"{_USAGE}{day}/"
        async for page in self._pages(self._container.list_blobs(name_starts_with=prefix).by_page()):
            for blob in page:
                yield blob.name.removeprefix(prefix), blob.size

    async def put_marker(self, turn_id: str, content: bytes = b"") -> None:
        """Mark the turn as not logged yet, or replace what its marker says."""
        name = _marker(turn_id)
        await self.prepare()
        with _translated():
            async with asyncio.timeout(self._append_timeout):
                await self._container.upload_blob(name, content, overwrite=True)

    async def read_marker(self, turn_id: str) -> bytes:
        """What the marker says. Raises JournalMissing if there is none."""
        return await self._blobs.read(_marker(turn_id), 0, self._read_timeout)

    async def delete_marker(self, turn_id: str) -> None:
        """The turn is logged. Deleting a marker that is not there is no error."""
        name = _marker(turn_id)
        with _translated():
            try:
                async with asyncio.timeout(self._append_timeout):
                    await self._container.delete_blob(name)
            except ResourceNotFoundError:
                return

    async def markers(self) -> AsyncIterator[str]:
        """The ids of all turns that are marked. Proxied calls, which are a level deeper, are not among them."""
        async for name in self.names(_MARKERS):
            if "/" not in name.removeprefix(_MARKERS):
                yield name.removeprefix(_MARKERS)

    async def names(self, prefix: str) -> AsyncIterator[str]:
        """The names of all blobs that begin so, in pages of the service."""
        async for page in self._pages(self._container.list_blob_names(name_starts_with=prefix).by_page()):
            for name in page:
                yield name

    async def _pages(self, pages: AsyncIterator[AsyncIterator[Item]]) -> AsyncIterator[list[Item]]:
        """A listing page by page, each bounded in time."""
        await self.prepare()
        while True:
            with _translated():
                async with asyncio.timeout(self._read_timeout):
                    page = await anext(pages, None)
                    items = [] if page is None else [item async for item in page]
            if page is None:
                return
            yield items

    async def close(self) -> None:
        """Close all connections."""
        await self._requests.close()
        await self._container.close()

    async def _create(self, name: str) -> bool:
        await self.prepare()
        try:
            return await self._blobs.create(name, self._append_timeout)
        except JournalMissing:  # of a blob that is being created only the container can be missing
            await self.prepare(again=True)
            return await self._blobs.create(name, self._append_timeout)


@contextmanager
def _translated() -> Iterator[None]:
    """The SDK's errors in the domain's terms."""
    try:
        yield
    except TimeoutError as error:
        raise StorageUnavailable("Storage did not answer in time.") from error
    except AzureError as error:
        code = getattr(error, "error_code", None) or type(error).__name__
        code = getattr(code, "value", code)  # the SDK's enumeration, or a string that is not in it
        raise StorageUnavailable(f"Storage did not do it ({code}).") from error


def _retries() -> LinearRetry:
    # The SDK's default waits 15 s before its first retry. What goes through the SDK here may be repeated.
    return LinearRetry(backoff=1, retry_total=2, random_jitter_range=0)


def _parse_connection_string(text: str) -> dict[str, str]:
    """The parts by their names in lower case."""
    pairs = (part.partition("=") for part in text.split(";") if part.strip())
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _turn(conversation_key: str, turn_id: str) -> str:
    return f"turns/{_part(conversation_key)}/{_part(turn_id)}"


def _order(conversation_key: str) -> str:
    return f"conversations/{_part(conversation_key)}"


def _usage(user: str, day: int) -> str:
    return f"{_USAGE}{day}/{_part(user)}"


def _marker(turn_id: str) -> str:
    return f"{_MARKERS}{_part(turn_id)}"


def _part(text: str) -> str:
    """One id as one segment of a name: with a slash it would name something else, with a space it would be two."""
    if not _ID.fullmatch(text):
        raise ValueError(f"{text!r} is no id: letters, digits, '-', '_' and '.' are.")
    return text
