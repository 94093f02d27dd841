"""The page beside the search: its own reducer, under Node, is given what the protocol can produce.

SignalR loses, doubles and reorders, so a page may have heard any of a journal's records, in any order. Its text is to
be a beginning of the journal's text in that generation, whatever it has heard, and the journal's text when it has
heard all.
"""

import itertools
import json
import random
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from chat.journal import Fold
from chat.turn_view import wire_frame
from tests.model.world import decoded

SCRIPT = Path(__file__).with_name("page.mjs")
ORDERS = 24  # of each journal's records: all of them up to four records, else as many that were drawn


def texts_of(journal: bytes) -> dict[int, list[str]]:
    """Every text that each generation had on its way, the last one last."""
    texts: dict[int, list[str]] = {}
    fold = Fold()
    for number, record in enumerate(decoded(journal), 1):
        fold.apply(record, number)
        texts.setdefault(fold.generation, []).append(fold.text)
    return texts


def orders_of(count: int, chance: random.Random) -> list[list[int]]:
    """Orders in which a page may hear of so many records; one of three hears some of them twice or not at all."""
    places = list(range(count))
    if count <= 4:
        return [list(order) for order in itertools.permutations(places)]
    orders = [places]
    while len(orders) < ORDERS:
        order = chance.sample(places, count) if len(orders) % 3 else chance.choices(places, k=count)
        orders.append(order)
    return orders


def flaws(journals: Iterable[bytes], seed: int = 1) -> tuple[int, list[str]]:
    """How many orders the page was shown, and what it showed that it must not."""
    chance, asked = random.Random(seed), []
    for journal in sorted(set(journals)):
        wire = [frame for record in decoded(journal) if (frame := wire_frame(record))]
        if wire:
            asked.append((journal, wire, orders_of(len(wire), chance)))
    lines = "".join(json.dumps({"records": wire, "orders": orders}) + "\n" for _, wire, orders in asked)
    node = shutil.which("node")
    assert node is not None, "no Node"
    run = subprocess.run([node, str(SCRIPT)], input=lines, capture_output=True, text=True, timeout=100, check=True)
    found = []
    for (journal, wire, orders), answer in zip(asked, run.stdout.splitlines(), strict=True):
        for order, shown in zip(orders, json.loads(answer), strict=True):
            wrong = flaw_of_page(journal, wire, order, shown)
            if wrong:
                found.append(f"{wrong}: {[wire[place] for place in order]} of {journal!r}")
    return sum(len(orders) for _, _, orders in asked), found


def flaw_of_page(journal: bytes, wire: list[Any], order: list[int], shown: list[dict[str, Any]]) -> str:
    texts, before = texts_of(journal), {"text": "", "generation": 1}
    for now in shown:
        if not any(text.startswith(now["text"]) for text in texts[now["generation"]]):
            return f"the page shows {now['text']!r}, which is in no text of its generation"
        if now["generation"] == before["generation"] and not now["text"].startswith(before["text"]):
            return f"{before['text']!r} becomes {now['text']!r} without a new generation"
        before = now
    if set(order) == set(range(len(wire))) and before["text"] != texts[max(texts)][-1]:
        return f"all was heard, and {before['text']!r} is shown"
    return ""
