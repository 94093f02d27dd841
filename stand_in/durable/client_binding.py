"""The client binding: what a function with a durable client is given, and the links that a start answers with.

The SDK's client reads its addresses from one JSON text. The links carry the system key, so they are for operators.
"""

from dataclasses import dataclass
from urllib.parse import quote_plus

from stand_in.durable.json_text import compact

_PLACEHOLDER = "INSTANCEID"


@dataclass(frozen=True, slots=True)
class ClientLinks:
    """Where the durable endpoints of a host are.

    `base_url` is the host's origin (`http://localhost:7071`), `rpc_base_url` the SDK's endpoint, ending in a slash.
    """

    base_url: str
    rpc_base_url: str
    system_key: str
    task_hub: str
    connection: str = "Storage"
    webhooks_path: str = "/runtime/webhooks/durabletask"

    def webhooks(self, origin: str | None = None) -> str:
        """The address of the management API, seen from the host itself or from a client's origin."""
        return (origin or self.base_url) + self.webhooks_path

    def management(self, instance_id: str, origin: str | None = None, *, with_rewind: bool = True) -> dict[str, str]:
        """The links of one instance."""
        base = f"{self.webhooks(origin)}/instances/{_in_address(instance_id)}"
        query = f"taskHub={self.task_hub}&connection={self.connection}&code={self.system_key}"
        links = {
            "id": instance_id,
            "statusQueryGetUri": f"{base}?{query}",
            "sendEventPostUri": f"{base}/raiseEvent/{{eventName}}?{query}",
            "terminatePostUri": f"{base}/terminate?reason={{text}}&{query}",
            "rewindPostUri": f"{base}/rewind?reason={{text}}&{query}",
            "purgeHistoryDeleteUri": f"{base}?{query}",
            "restartPostUri": f"{base}/restart?{query}",
            "suspendPostUri": f"{base}/suspend?reason={{text}}&{query}",
            "resumePostUri": f"{base}/resume?reason={{text}}&{query}",
        }
        if not with_rewind:
            del links["rewindPostUri"]
        return links


def _in_address(instance_id: str) -> str:
    """An id as .NET encodes it for a form, which is how the extension reads its paths."""
    return quote_plus(instance_id, safe="-_.!*()").replace("~", "%7E")


def client_binding(links: ClientLinks) -> str:
    """The JSON text for a function's durable client parameter.

    A binding that names a task hub or a connection of its own gets links with those (`dataclasses.replace`).
    """
    start = f"{links.webhooks()}/orchestrators/{{functionName}}[/{{instanceId}}]"
    return compact(
        {
            "taskHubName": links.task_hub,
            "connectionName": None,
            "creationUrls": {
                "createNewInstancePostUri": f"{start}?code={links.system_key}",
                "createAndWaitOnNewInstancePostUri": f"{start}?timeout={{timeoutInSeconds}}"
                f"&pollingInterval={{intervalInSeconds}}&code={links.system_key}",
            },
            "managementUrls": links.management(_PLACEHOLDER),
            "baseUrl": links.webhooks(),
            "requiredQueryStringParameters": f"code={links.system_key}",
            "rpcBaseUrl": links.rpc_base_url,
            "httpBaseUrl": None,
            "maxGrpcMessageSizeInBytes": None,
            "grpcHttpClientTimeout": None,
        }
    )
