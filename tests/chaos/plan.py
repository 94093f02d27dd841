"""Plans: what happens in one round of the chaos harness, drawn from a seed and nothing else.

A round asks ten turns on one stack at once and strikes its processes while they are being answered. **A run is one turn
that a strike, a fault of the model or a stop hit between its POST and its log record.** Run `n` belongs to round
`n // RUNS_IN_A_ROUND`; seed, kinds and number give the same plan again, though not the same microseconds.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tests.chaos.promises import say, story

RUNS_IN_A_ROUND = 10
VISITORS = 3
KINDS = ("deterministic", "drifting", "resumable")
RESUMABLE_DEPLOYMENT = "resumable"
EMULATORS = ("blob", "signalr", "eventHubs", "model")
SERVICES = ("host", *EMULATORS)
STRIKES_FROM, STRIKES_UNTIL = 0.05, 1.8  # seconds after the first question; answers take one to three
COMPLETED = frozenset({"completed"})


@dataclass(frozen=True, slots=True)
class Question:
    """One turn: what is asked, when, and how it may end. `text` is the answer if it is known beforehand."""

    run: int
    story: str
    visitor: int
    conversation: str
    at: float  # seconds since the round began
    prompt: str
    text: str | None
    endings: frozenset[str] = COMPLETED
    stop_after: float | None = None  # seconds after it was accepted
    deployment: str | None = None
    may_restart: bool = False
    is_hit: bool = False  # by a fault of its own, whatever is killed


@dataclass(frozen=True, slots=True)
class Strike:
    """Something done to a process: killed, frozen for `seconds` (SIGSTOP, SIGCONT), or (the hub) silent for so long."""

    at: float
    what: Literal["kill", "freeze", "silence"]
    service: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """One round."""

    number: int
    kind: str
    questions: Sequence[Question]
    strikes: Sequence[Strike]
    signalr_faults: dict[str, float] | None = None


def draw(seed: int, number: int, kinds: Sequence[str] = KINDS) -> Plan:
    """The plan of one round."""
    chance = random.Random(f"{seed}/{number}")
    kind = kinds[number % len(kinds)]
    questions = _questions(chance, number, kind)
    faults = None
    if chance.random() < 0.25:
        faults = {"drop": 0.2, "duplicate": 0.15, "reorder": 0.2, "seed": chance.randrange(1000)}
    return Plan(number, kind, questions, _strikes(chance), faults)


def _questions(chance: random.Random, number: int, kind: str) -> list[Question]:
    questions: list[Question] = []
    while len(questions) < RUNS_IN_A_ROUND:
        run = number * RUNS_IN_A_ROUND + len(questions)
        name = chance.choices(
            ("plain", "long", "queued", "stop", "429", "cut", "stall", "filter", "redact", "500"),
            (30, 12, 14, 14, 6, 8, 4, 4, 4, 4),
        )[0]
        visitor = chance.randrange(VISITORS)
        question = _question(chance, run, name, kind, visitor, f"talk-{run}", chance.uniform(0, 0.6))
        questions.append(question)
        if name == "queued" and len(questions) < RUNS_IN_A_ROUND:
            run += 1
            later = question.at + chance.uniform(0, 0.5)
            questions.append(_question(chance, run, "plain", kind, visitor, question.conversation, later))
    return questions


def _question(
    chance: random.Random, run: int, name: str, kind: str, visitor: int, conversation: str, at: float
) -> Question:
    words = chance.randrange(150, 260) if name == "long" else chance.randrange(20, 60)
    text = story(f"{run}.", words)
    speed = chance.randrange(300, 500) if name == "long" else chance.randrange(90, 200)
    fault, endings, expected = "", COMPLETED, kind != "drifting"
    # A call that asks to continue an answer is another prompt, to which the emulator's filter does not apply.
    filtered = frozenset({"filtered"}) | (COMPLETED if kind == "drifting" else frozenset())
    match name:
        case "stop":
            endings = frozenset({"stopped", "completed"})
        case "429":
            fault = f"#fault 429 retry_after_ms={chance.randrange(100, 900)} "
        case "500":
            fault = "#fault 500 "
        case "cut":
            fault = f"#fault {chance.choice(('cut', 'end', 'error'))} after={chance.randrange(1, 80)} "
        case "stall":
            fault = f"#fault stall after={chance.randrange(1, 60)} seconds=20 "
        case "filter":
            fault, endings = f"#fault filter after={chance.randrange(1, 60)} ", filtered
        case "redact":
            fault, endings = f"#fault async-filter after={chance.randrange(5, 60)} ", filtered
    drift = f"#drift after={chance.randrange(0, 120)} " if kind == "drifting" else ""
    return Question(
        run=run,
        story=name,
        visitor=visitor,
        conversation=conversation,
        at=at,
        prompt=drift + fault + say(text, speed),
        text=text if expected and endings == COMPLETED else None,
        endings=endings,
        stop_after=chance.uniform(0, 1.5) if name == "stop" else None,
        deployment=RESUMABLE_DEPLOYMENT if kind == "resumable" else None,
        may_restart=kind == "drifting" or name == "redact",
        is_hit=bool(fault),
    )


def _strikes(chance: random.Random) -> list[Strike]:
    """What happens to the processes: mostly the host dies, sometimes something or everything else does."""
    first = chance.uniform(STRIKES_FROM, STRIKES_UNTIL)
    one, other = chance.sample(EMULATORS, 2)
    match chance.choices(
        ("host", "host twice", "host thrice", "emulator", "pair", "storm", "freeze", "silence"),
        (30, 10, 4, 16, 12, 12, 8, 8),
    )[0]:
        case "host":
            return [Strike(first, "kill", "host")]
        case "host twice":
            return [Strike(first, "kill", "host"), Strike(first + chance.uniform(0.2, 4), "kill", "host")]
        case "host thrice":
            return [Strike(first + chance.uniform(1.5, 2.5) * number, "kill", "host") for number in range(3)]
        case "emulator":
            return [Strike(first, "kill", one)]
        case "pair":
            return [Strike(first, "kill", "host"), Strike(first + chance.uniform(0, 0.3), "kill", one)]
        case "storm":
            victims = [*SERVICES, other]
            chance.shuffle(victims)
            return [Strike(first + 0.35 * number, "kill", victim) for number, victim in enumerate(victims)]
        case "freeze":
            return [Strike(first, "freeze", chance.choice(SERVICES), chance.uniform(0.5, 4))]
        case _:
            return [
                Strike(first, "silence", "eventHubs", chance.uniform(1, 4)),
                Strike(first + chance.uniform(0, 1), "kill", "host"),
            ]


def single_turn(number: int) -> Plan:
    """One short answer, and nothing that happens at an instant: for commit points."""
    text = story(f"c{number}.", 12)
    question = Question(number, "plain", 0, f"point-{number}", 0.0, say(text, 150), text)
    return Plan(number, "deterministic", [question], [])
