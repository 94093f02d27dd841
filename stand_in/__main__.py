"""`python -m stand_in`."""

import sys

from stand_in.cli import main

if __name__ == "__main__":
    sys.exit(main())
