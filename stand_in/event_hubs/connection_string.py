"""How a client finds the emulator: the key that everybody knows, and connection strings with it.

Name and value of the key are those of Microsoft's own emulator, so that a connection string works with both.
`UseDevelopmentEmulator=true` (in lower case) is what makes the SDKs speak plain TCP, and to the given port.
"""

from typing import Final

SHARED_ACCESS_KEY_NAME: Final = "RootManageSharedAccessKey"
SHARED_ACCESS_KEY: Final = "SAS_KEY_VALUE"


def connection_string(port: int, event_hub: str | None = None) -> str:
    """Return a connection string for the emulator on this machine, for one hub or for all."""
    text = (
        f"Endpoint=sb://localhost:{port};SharedAccessKeyName={SHARED_ACCESS_KEY_NAME};"
        f"SharedAccessKey={SHARED_ACCESS_KEY};UseDevelopmentEmulator=true;"
    )
    return text if event_hub is None else f"{text}EntityPath={event_hub};"
