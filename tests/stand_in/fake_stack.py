"""`python -m stand_in` with fake services behind the real command line."""

import sys
from dataclasses import replace

from stand_in.cli import main
from stand_in.config import SERVICES

FAKES = tuple(replace(service, module="tests.stand_in.fake_service") for service in SERVICES)

if __name__ == "__main__":
    sys.exit(main(services=FAKES))
