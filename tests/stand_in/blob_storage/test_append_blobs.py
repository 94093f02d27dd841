"""An append blob is the bytes that were appended to it, whatever range of it is read."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stand_in.blob_storage import append_blobs, blobs, containers, errors
from stand_in.blob_storage.account import Account
from stand_in.blob_storage.requests import Request, Target


def request(method: str, body: bytes = b"", **headers: str) -> Request:
    sent = {"x-ms-version": "2023-11-03", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Request(method, Target("", "box", "log"), {}, sent, body)


async def new_log(folder: Path) -> Account:
    account = Account(folder)
    await containers.create_container(account, request("PUT"))
    await append_blobs.create_append_blob(account, request("PUT"))
    return account


async def check_all_ranges(parts: list[bytes], folder: Path) -> None:
    account = await new_log(folder)
    try:
        for part in parts:
            await append_blobs.append_block(account, request("PUT", part))
        whole = b"".join(parts)
        assert (await blobs.get_blob(account, request("GET"))).body == whole
        for first in range(len(whole)):
            for last in range(first, len(whole) + 1):
                answer = await blobs.get_blob(account, request("GET", x_ms_range=f"bytes={first}-{last}"))
                assert answer.body == whole[first : last + 1]
                end = min(last, len(whole) - 1)
                assert answer.headers["Content-Range"] == f"bytes {first}-{end}/{len(whole)}"
    finally:
        await account.close()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=6), max_size=5))
def test_every_range_of_any_appends_is_what_was_appended(parts: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(check_all_ranges(parts, Path(folder)))


async def test_the_block_after_the_last_one_allowed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """50,000 blocks would take a while; the rule is the same at three."""
    assert append_blobs.MAX_BLOCKS == 50_000
    monkeypatch.setattr(append_blobs, "MAX_BLOCKS", 3)
    account = await new_log(tmp_path)
    for _ in range(3):
        await append_blobs.append_block(account, request("PUT", b"x"))
    with pytest.raises(errors.BlockCountExceedsLimit):
        await append_blobs.append_block(account, request("PUT", b"x"))
    await account.close()
