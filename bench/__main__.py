"""`python -m bench [turns] [sends] [engine] [blobs] [storm]`: every figure, or those named."""

import argparse

from bench import blob_appends, engine, sends, storm, turns

PARTS = {
    "turns": turns.main,
    "sends": sends.main,
    "engine": engine.main,
    "blobs": blob_appends.main,
    "storm": storm.main,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--turns", type=int, default=storm.TURNS, help="of the storm (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the storm's kills (default: %(default)s)")
    options = parser.parse_args()
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known are {', '.join(PARTS)}")
    for name in options.parts or PARTS:
        if name == "storm":
            storm.main(options.turns, options.seed)
        else:
            PARTS[name]()


if __name__ == "__main__":
    main()
