"""Containers: create, describe, set metadata, delete."""

from stand_in.blob_storage import errors
from stand_in.blob_storage.account import Account, revision_headers
from stand_in.blob_storage.blobs import metadata_headers
from stand_in.blob_storage.conditions import read_conditions
from stand_in.blob_storage.requests import Answer, Request, read_metadata
from stand_in.blob_storage.sqlite_blobs import Revision, SqliteBlobs


async def create_container(account: Account, request: Request) -> Answer:
    """Create Container, always private."""
    if "x-ms-blob-public-access" in request.headers:
        raise errors.PublicAccessNotPermitted
    metadata = read_metadata(request.headers)

    def create(blobs: SqliteBlobs) -> Revision:
        revision = account.next_revision()
        if not blobs.insert_container(request.container, metadata, revision):
            raise errors.ContainerAlreadyExists
        return revision

    return Answer(201, revision_headers(await account.write(create)))


async def get_container_properties(account: Account, request: Request) -> Answer:
    """Get Container Properties, and Get Container Metadata (GET or HEAD)."""
    container = account.committed.find_container(request.container)
    headers = {
        **revision_headers(Revision(container.etag, container.modified)),
        **metadata_headers(container.metadata),
        "x-ms-lease-status": "unlocked",
        "x-ms-lease-state": "available",
        "x-ms-has-immutability-policy": "false",
        "x-ms-has-legal-hold": "false",
    }
    return Answer(200, headers)


async def set_container_metadata(account: Account, request: Request) -> Answer:
    """Set Container Metadata: the new ones replace all."""
    conditions, metadata = read_conditions(request.headers), read_metadata(request.headers)

    def describe(blobs: SqliteBlobs) -> Revision:
        container = blobs.find_container(request.container)
        conditions.check_write(container)
        revision = account.next_revision()
        blobs.update_container_metadata(container, metadata, revision)
        return revision

    return Answer(200, revision_headers(await account.write(describe)))


async def delete_container(account: Account, request: Request) -> Answer:
    """Delete Container, with everything in it. Unlike on Azure its name is free again at once."""
    conditions = read_conditions(request.headers)

    def delete(blobs: SqliteBlobs) -> None:
        container = blobs.find_container(request.container)
        conditions.check_write(container)
        blobs.delete_container(container)

    await account.write(delete)
    return Answer(202)
