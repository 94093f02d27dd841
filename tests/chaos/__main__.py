"""`python -m tests.chaos`: kill everything at any instant, and see whether one promise breaks. `make chaos` is this.

It lives with the chaos tests because they are one thing: the same visitors, screens and promises, a spread of it in
every `make test`.
"""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Sequence

from bench.figures import show
from tests.chaos.commit_points import CommitPoint
from tests.chaos.harness import Harness, Wanted, round_of
from tests.chaos.plan import KINDS
from tests.chaos.report import Progress, figures_of
from tests.running_stack import ROOT

FOLDER = ROOT / ".local" / "chaos"


def main(arguments: Sequence[str] | None = None) -> int:
    """Play what the command line wants; 0 when every promise was kept."""
    parsed = _parser().parse_args(arguments)
    wanted = Wanted(parsed.runs, parsed.seed, parsed.kinds, parsed.jobs, parsed.points, parsed.keep_going)
    alone = parsed.run is not None or parsed.point is not None
    name = "replay" if alone else f"seed-{wanted.seed}-{'-'.join(wanted.kinds)}"
    progress = Progress(FOLDER / f"{name}.jsonl", resume=parsed.resume)
    harness = Harness(wanted, progress, FOLDER, lambda text: print(text, flush=True))
    for number in (signal.SIGINT, signal.SIGTERM):  # in the background, too: the stacks are to be taken down in order
        signal.signal(number, signal.default_int_handler)
    began = time.monotonic()
    try:
        if parsed.point is not None:
            asyncio.run(harness.replay(harness.point_task(parsed.point)))
        elif parsed.run is not None:
            asyncio.run(harness.replay(harness.random_task(round_of(parsed.run))))
        else:
            asyncio.run(harness.run())
    except KeyboardInterrupt:
        print(f"stopped; --resume goes on with what is in {progress.path}")
    show(f"Chaos, seed {wanted.seed}", figures_of(progress.summaries, time.monotonic() - began))
    return 1 if any(summary["violations"] for summary in progress.summaries) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Kill everything at any instant.")
    parser.add_argument("--runs", type=int, default=1000, help="turns that something has to hit (default: 1000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", type=_kinds, default=KINDS, help=f"of models, of {','.join(KINDS)} (default: all)")
    parser.add_argument("--jobs", type=int, default=3, help="stacks at once (default: 3)")
    parser.add_argument("--points", type=int, help="so many commit points (default: all, or a quarter of the runs)")
    parser.add_argument("--resume", action="store_true", help="go on with the rounds that are not in the file yet")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first violation")
    parser.add_argument("--run", type=int, help="the round of this run alone")
    parser.add_argument("--point", type=CommitPoint.parse, metavar="SERVICE:N:WHEN:VICTIM", help="this point alone")
    return parser


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split(","))
    if not set(kinds) <= set(KINDS):
        raise argparse.ArgumentTypeError(f"{text!r}: known kinds are {', '.join(KINDS)}")
    return kinds


if __name__ == "__main__":
    sys.exit(main())
