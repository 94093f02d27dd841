"""`python -m bench [turns] [engine] [blobs]`: every figure, or those named."""

import sys

from bench import blob_appends, engine, turns

PARTS = {"turns": turns.main, "engine": engine.main, "blobs": blob_appends.main}


def main(names: list[str]) -> None:
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        sys.exit(f"Unknown: {', '.join(unknown)}; known are {', '.join(PARTS)}.")
    for name in names or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
