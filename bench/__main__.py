"""`python -m bench [part ...]`: every figure, or those named."""

import argparse
from collections.abc import Callable

from bench import blob_appends, engine, proxy, proxy_storm, sends, stops, storm, turns

PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "turns": lambda options: turns.main(),
    "sends": lambda options: sends.main(),
    "engine": lambda options: engine.main(),
    "blobs": lambda options: blob_appends.main(),
    "storm": lambda options: storm.main(options.turns, options.seed),
    "stops": lambda options: stops.main(options.races, options.seed),
    "proxy": lambda options: proxy.main(),
    "proxy-storm": lambda options: proxy_storm.main(options.calls, options.seed),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--turns", type=int, default=storm.TURNS, help="of the storm (default: %(default)s)")
    parser.add_argument("--races", type=int, default=stops.RACES, help="of the stops (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=proxy_storm.CALLS, help="of the proxy's storm (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of what is random (default: %(default)s)")
    options = parser.parse_args()
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known are {', '.join(PARTS)}")
    for name in options.parts or PARTS:
        PARTS[name](options)


if __name__ == "__main__":
    main()
