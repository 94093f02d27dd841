"""`python -m bench [turns] [engine] [blobs] [storm] [proxy] [proxy-storm]`: every figure, or those named."""

import argparse

from bench import blob_appends, engine, proxy, proxy_storm, storm, turns

PARTS = {"turns": turns.main, "engine": engine.main, "blobs": blob_appends.main, "storm": storm.main}
PARTS |= {"proxy": proxy.main, "proxy-storm": proxy_storm.main}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--turns", type=int, default=storm.TURNS, help="of the storm (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=proxy_storm.CALLS, help="of the proxy's storm (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the storm's kills (default: %(default)s)")
    options = parser.parse_args()
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known are {', '.join(PARTS)}")
    for name in options.parts or PARTS:
        if name == "storm":
            storm.main(options.turns, options.seed)
        elif name == "proxy-storm":
            proxy_storm.main(options.calls, options.seed)
        else:
            PARTS[name]()


if __name__ == "__main__":
    main()
