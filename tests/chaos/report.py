"""The report: one line of figures per round, kept in a file, and what they add up to."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.figures import Figure, percentile
from tests.chaos.evidence import RoundSeen, Violation, copies, was_hit

SHORT_PREFIX = 50  # tokens; the bar of one second is for these: what is stored is generated again first
Summary = dict[str, Any]


def summary_of(name: str, seen: RoundSeen, violations: Sequence[Violation], seconds: float) -> Summary:
    """The figures of one round, ready to be stored."""
    turns = [turn for turn in seen.turns if turn.turn_id not in seen.unfinished]
    return {
        "round": name,
        "kind": seen.plan.kind,
        "turns": len(seen.turns),
        "runs": sum(was_hit(turn, seen) for turn in seen.turns),
        "struck": dict(Counter(f"{what} {service}" for _, what, service in seen.strikes)),
        "rungs": dict(Counter(str(turn.status["recoveryRung"]) for turn in turns)),
        "attempts": dict(Counter(str(turn.status["attempts"]) for turn in turns)),
        "statuses": dict(Counter(turn.status["status"] for turn in turns)),
        "restarts": sum(record["kind"] == "restart" for turn in turns for record in turn.journal),
        "redacts": sum(record["kind"] == "redact" for turn in turns for record in turn.journal),
        "paints": sum(len(screen.shown) - 1 for turn in seen.turns for screen in turn.screens.values()),
        "clients": sorted({client for turn in seen.turns for client in turn.screens}),
        "copies": sum(copies(turn) for turn in turns),
        "resumed": seen.resumed,
        "violations": [[violation.promise, violation.turn_id, violation.what] for violation in violations],
        "seconds": round(seconds, 1),
    }


class Progress:
    """The figures of finished rounds, in a file that outlives the harness."""

    def __init__(self, path: Path, *, resume: bool) -> None:
        self.path = path
        self.summaries: list[Summary] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        if resume and path.exists():
            self.summaries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        elif path.exists():
            path.unlink()

    @property
    def names(self) -> set[str]:
        """The rounds that are done."""
        return {summary["round"] for summary in self.summaries}

    @property
    def runs(self) -> int:
        return sum(summary["runs"] for summary in self.summaries)

    def add(self, summary: Summary) -> None:
        self.summaries.append(summary)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(summary, ensure_ascii=False) + "\n")


def figures_of(summaries: Sequence[Summary], seconds: float) -> list[Figure]:
    """The table at the end."""
    runs, turns = (sum(summary[name] for summary in summaries) for name in ("runs", "turns"))
    struck = _added(summaries, "struck")
    kills = {what: number for what, number in struck.items() if what.startswith("kill ")}
    others = {what: number for what, number in struck.items() if not what.startswith("kill ")}
    points = sum(":" in summary["round"] and bool(summary["struck"]) for summary in summaries)
    violations = [violation for summary in summaries for violation in summary["violations"]]
    resumed = [tuple(pair) for summary in summaries for pair in summary["resumed"]]
    short = [seconds for tokens, seconds in resumed if tokens <= SHORT_PREFIX]
    clients = sorted({client for summary in summaries for client in summary["clients"]})
    rows = [
        Figure("runs (turns that something hit)", str(runs), f"of {turns} turns in {seconds:.0f} s"),
        Figure("commit points struck", str(points)),
        Figure("kill -9", str(sum(kills.values())), _told(kills, "kill ")),
        Figure("frozen or silenced", str(sum(others.values())), _told(others)),
        Figure("paints checked", str(sum(summary["paints"] for summary in summaries)), ", ".join(clients)),
    ]
    for kind in dict.fromkeys(summary["kind"] for summary in summaries):
        of_kind = [summary for summary in summaries if summary["kind"] == kind]
        rungs = _added(of_kind, "rungs")
        restarts = sum(summary["restarts"] for summary in of_kind)
        rows.append(Figure(f"{kind}: rung", _shares(rungs), "None: nothing stored was in the way"))
        rows.append(Figure(f"{kind}: restarts on screen", str(restarts), "", "0" if kind != "drifting" else ""))
    return [
        *rows,
        Figure("endings", _told(_added(summaries, "statuses"))),
        Figure("attempts", _told(_added(summaries, "attempts"))),
        Figure("host ready to next text, p50 / p99", _times([each for _, each in resumed]), "any prefix"),
        Figure("  up to 50 tokens stored", _times(short), "", "<= 1 s"),
        Figure("records sent again, equal and with one id", str(sum(s["copies"] for s in summaries)), "at least once"),
        Figure("violations", str(len(violations)), "", "0"),
    ]


def _added(summaries: Iterable[Summary], name: str) -> Counter[str]:
    total: Counter[str] = Counter()
    for summary in summaries:
        total.update(summary[name])
    return total


def _told(counts: Counter[str] | dict[str, int], prefix: str = "") -> str:
    return ", ".join(f"{name.removeprefix(prefix)} {number}" for name, number in sorted(counts.items()))


def _shares(counts: Counter[str]) -> str:
    total = counts.total()
    return ", ".join(f"{name} {100 * number / total:.0f} %" for name, number in sorted(counts.items()))


def _times(values: Sequence[float]) -> str:
    if not values:
        return "none measured"
    return f"{percentile(values, 0.5):.2f} / {percentile(values, 0.99):.2f} s ({len(values)})"
