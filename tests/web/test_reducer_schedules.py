"""The page's reducer, under Node, on journals that the app itself wrote: every kind of bad day, and every order.

Last, the reducer is broken on purpose, in one place after another: each break must be noticed.
"""

import asyncio
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from chat.pace import Pace
from tests.web.fake_backend import WEB
from tests.web.journals import Script, answered, mixes
from tests.web.test_page_modules import node

SEED = 20270101
SCHEDULES = 5000
RUNS = 250  # answers by real runs, among those that the schedules are about
LONGEST_MIX = 5  # records before the end: six in all
RUNNER = Path(__file__).parent / "schedules.mjs"


@pytest.fixture(scope="module")
def scripts() -> list[Script]:
    """Answers by real runs, and every mix of records."""

    async def run_all() -> list[Script]:
        return [await answered(Random(SEED + number)) for number in range(RUNS)]

    with pytest.MonkeyPatch.context() as patch:
        # Deliveries do not wait between two messages, nor after one that was not taken.
        patch.setattr("chat.delivery.Pace", lambda: Pace(window=0.0))
        patch.setattr("chat.delivery.SHORTEST_BACKOFF", 0.0)
        patch.setattr("chat.delivery.LONGEST_BACKOFF", 0.0)
        return [*asyncio.run(run_all()), *mixes(LONGEST_MIX, Random(SEED))]


def run(
    scripts: list[Script], *, schedules: int, orders: list[Script] | None = None, web: Path = WEB, seed: int = SEED
) -> dict[str, Any]:
    request = {
        "scripts": [script.to_dict() for script in scripts],
        "schedules": schedules,
        "orders": [script.to_dict() for script in orders or []],
        "seed": seed,
    }
    command = [node(), str(RUNNER), str(web)]
    done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_the_scripts_hold_what_they_are_to_hold(scripts: list[Script]) -> None:
    """Else the schedules would say little."""
    runs = scripts[:RUNS]
    kinds = {
        kind: sum(any(r["kind"] == kind for r in s.journal) for s in runs) for kind in ("restart", "redact", "wait")
    }
    assert all(count >= 10 for count in kinds.values()), kinds
    assert {script.status for script in runs} >= {"completed", "stopped", "filtered"}
    frames = sum(record["kind"] == "frame" for script in runs for record in script.journal)
    messages = [m["record"] for script in runs for m in script.messages if m["record"]["kind"] == "frame"]
    assert len(messages) < frames, "no message held several frames"
    assert any(len(script.finals) >= 3 for script in runs)


def test_on_the_worst_days_text_only_grows_and_comes_out_whole(scripts: list[Script]) -> None:
    assert run(scripts, schedules=SCHEDULES) == {"schedules": SCHEDULES, "orders": 0, "violations": []}


def test_every_order_of_up_to_six_records_gives_the_same_text(scripts: list[Script]) -> None:
    """All mixes of frames, restarts and redactions with their end, in all orders."""
    short = scripts[RUNS:]
    expected = sum(3**length * factorial(length + 1) for length in range(LONGEST_MIX + 1))
    assert run([], schedules=0, orders=short) == {"schedules": 0, "orders": expected, "violations": []}


def factorial(number: int) -> int:
    return 1 if number < 2 else number * factorial(number - 1)


@dataclass(frozen=True)
class Break:
    """One place in a module of the page, and how it is broken."""

    name: str
    module: str
    code: str
    broken: str


TEXT, STATE = "turn-text.js", "conversation-state.js"
BREAKS = (
    Break("duplicates are placed again", TEXT, "piece.text.slice(state.text.length - piece.offset)", "piece.text"),
    Break("gaps are ignored", TEXT, "&& piece.offset <= state.text.length", ""),
    Break("generations are ignored", TEXT, "piece.generation <= state.generation && ", ""),
    Break("text from before a restart counts", TEXT, "piece.generation < state.root || ", ""),
    Break("a restart keeps the text", TEXT, 'text: "",\n    root:', "root:"),
    Break("a second restart restarts again", TEXT, "if (generation <= state.root) return state;", ""),
    Break("a restart forgets what is held", TEXT, "state.held.filter((piece) => piece.generation >= generation)", "[]"),
    Break(
        "a restart forgets later redactions",
        TEXT,
        "state.heldCovers.filter((cover) => cover.generation > generation)",
        "[]",
    ),
    Break("a redaction covers nothing", TEXT, "text: covered(state.text, 0, [cover])", "text: state.text"),
    Break("late text comes uncovered", TEXT, "covered(fresh, state.text.length, later)", "fresh"),
    Break("redactions come in any order", TEXT, "other.generation === before.generation + 1", "true"),
    Break("a second redaction covers again", TEXT, "if (cover.generation <= state.generation) return state;", ""),
    Break("what is held stays held", TEXT, "placed === state ? state : drain(placed)", "placed"),
    Break("nothing is held", TEXT, "held: [...state.held, piece]", "held: state.held"),
    Break(
        "what is held is held twice",
        TEXT,
        "if (state.held.some((other) => isSamePiece(other, piece))) return state;",
        "",
    ),
    Break(
        "a generation nobody introduced is no gap",
        TEXT,
        " || state.latest > state.generation) return true",
        ") return true",
    ),
    Break("the end is whole whatever is missing", TEXT, "state.end !== null && !hasGap(state)", "state.end !== null"),
    Break("an end ends nothing", TEXT, "return clip({ ...state, end });", "return state;"),
    Break("what came before the POST's answer is lost", STATE, "state.strays[turnId] ?? known?.text", "known?.text"),
    Break("another look at the conversation empties a turn", STATE, "if (own) return own", "if (false) return own"),
)


@pytest.fixture(scope="module")
def fragile_web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the page's modules, to break."""
    folder = tmp_path_factory.mktemp("web")
    for module in WEB.glob("*.js"):
        shutil.copy(module, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    return folder


@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.name)
def test_a_broken_reducer_is_noticed(scripts: list[Script], fragile_web: Path, broken: Break) -> None:
    path = fragile_web / broken.module
    whole = path.read_text()
    assert whole.count(broken.code) == 1, "the place to break is not there, or not alone"
    path.write_text(whole.replace(broken.code, broken.broken))
    try:
        result = run(scripts, schedules=1000, orders=scripts[RUNS : RUNS + 40], web=fragile_web)
    finally:
        path.write_text(whole)
    assert result["violations"], "nothing was noticed"
