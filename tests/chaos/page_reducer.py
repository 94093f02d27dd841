"""The page's own reducer, under Node: what it makes of the records that a page heard, in the order of their arrival."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.chaos.screen import Screen

PROGRAM = Path(__file__).with_suffix(".mjs")


async def page_screen(heard: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Screen]:
    """A screen for each turn, with everything that the page would have shown."""
    node = await asyncio.create_subprocess_exec(
        "node", str(PROGRAM), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await node.communicate(json.dumps(list(heard.items())).encode())
    if node.returncode:
        raise AssertionError(f"the page's reducer ended with {node.returncode}")
    screens = {}
    for turn_id, paints in json.loads(output):
        screens[turn_id] = Screen()
        for generation, text in paints:
            screens[turn_id].paint(generation, text)
    return screens
