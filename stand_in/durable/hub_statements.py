"""The task hub's SQL: its schema, and its statements by name."""

import re
from pathlib import Path

_HERE = Path(__file__).parent

SCHEMA = (_HERE / "schema.sql").read_text()


def _read_statements() -> dict[str, str]:
    parts = re.split(r"^-- name: (\w+)\n", (_HERE / "statements.sql").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], (part.strip().rstrip(";") for part in parts[2::2]), strict=True))


STATEMENTS = _read_statements()
