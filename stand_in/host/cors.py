"""Cross-origin requests, as `func` answers them for `Host.CORS` of local.settings.json.

Every path has a preflight (204, before any function), which echoes the method and headers asked for. A foreign origin
gets no CORS headers, and a function's own `Access-Control-Allow-Origin` is replaced. The setting is also read from
`WEBSITE_CORS_ALLOWED_ORIGINS` (a JSON list) and `WEBSITE_CORS_SUPPORT_CREDENTIALS`, where the platform puts it.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Cors:
    """Which origins may read answers. No origins: CORS is off and nothing is added or answered."""

    origins: frozenset[str] = frozenset()
    credentials: bool = False

    def preflight(self, headers: Mapping[bytes, bytes]) -> Headers | None:
        """The headers of the 204 for a preflight request, or None when the request is not one."""
        asked = headers.get(b"access-control-request-method")
        if not self.origins or asked is None or b"origin" not in headers:
            return None
        allowed = self.answer(headers.get(b"origin"))
        if not allowed:
            return []
        allowed.append((b"access-control-allow-methods", asked))
        wanted = headers.get(b"access-control-request-headers")
        if wanted:
            allowed.append((b"access-control-allow-headers", wanted))
        return allowed

    def answer(self, origin: bytes | None) -> Headers:
        """What an answer to this origin carries."""
        if origin is None or not self.origins:
            return []
        text = origin.decode("latin-1")
        if text not in self.origins and "*" not in self.origins:
            return []
        if "*" in self.origins and not self.credentials:
            return [(b"access-control-allow-origin", b"*")]
        headers = [(b"access-control-allow-origin", origin)]
        if self.credentials:
            headers.append((b"access-control-allow-credentials", b"true"))
        return headers


def read_cors(app_dir: Path, environment: Mapping[str, str]) -> Cors:
    """CORS from the platform's settings, else from local.settings.json."""
    listed = environment.get("WEBSITE_CORS_ALLOWED_ORIGINS")
    if listed:
        credentials = environment.get("WEBSITE_CORS_SUPPORT_CREDENTIALS", "").lower() == "true"
        return Cors(frozenset(str(origin) for origin in json.loads(listed)), credentials)
    host = _local_host_section(app_dir)
    origins = frozenset(part.strip() for part in str(host.get("CORS") or "").split(",") if part.strip())
    return Cors(origins, bool(host.get("CORSCredentials")))


def _local_host_section(app_dir: Path) -> dict[str, Any]:
    path = app_dir / "local.settings.json"
    if not path.exists():
        return {}
    try:
        section = json.loads(path.read_text("utf-8-sig")).get("Host")
    except ValueError as error:
        logger.warning("local.settings.json cannot be read: %s", error)
        return {}
    return section if isinstance(section, dict) else {}
