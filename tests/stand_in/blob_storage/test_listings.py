"""Listings agree with what sorting and grouping the names by hand gives, for any names and any pages."""

import asyncio
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from stand_in.blob_storage import block_blobs, containers, listings
from stand_in.blob_storage.account import Account
from stand_in.blob_storage.requests import Request, Target

NAMES = st.sets(st.text("ab/é\U0010ffff\ud7ff", min_size=1, max_size=6), max_size=12)


def request(method: str, blob: str | None = None, **query: str) -> Request:
    return Request(method, Target("", "box", blob), query, {"x-ms-version": "2023-11-03"}, b"")


def expected(names: set[str], prefix: str, delimiter: str) -> list[str]:
    found = set()
    for name in names:
        if name.startswith(prefix):
            head, cut, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
            found.add(prefix + head + cut if cut else name)
    return sorted(found, key=lambda name: name.encode())


async def list_all(names: set[str], prefix: str, delimiter: str, page_size: int, folder: Path) -> list[str]:
    account = Account(folder)
    try:
        await containers.create_container(account, request("PUT"))
        for name in names:
            await block_blobs.put_block_blob(account, request("PUT", name))
        listed: list[str] = []
        marker = ""
        while True:
            query = {"prefix": prefix, "delimiter": delimiter, "maxresults": str(page_size), "marker": marker}
            answer = await listings.list_blobs(account, request("GET", **query))
            root = ElementTree.fromstring(answer.body)
            page = [element.text or "" for element in root.findall("Blobs/*/Name")]
            assert len(page) <= page_size
            listed += page
            marker = root.findtext("NextMarker") or ""
            if not marker:
                return listed
            assert len(page) == page_size
    finally:
        await account.close()


@settings(max_examples=40, deadline=None)
@given(NAMES, st.text("ab/", max_size=2), st.sampled_from(["", "/", "a", "b/"]), st.integers(1, 5))
def test_pages_of_any_size_give_every_name_or_folder_once_in_order(
    names: set[str], prefix: str, delimiter: str, page_size: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        listed = asyncio.run(list_all(names, prefix, delimiter, page_size, Path(folder)))
    assert listed == expected(names, prefix, delimiter)
