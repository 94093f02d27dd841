"""What a request can be refused with: the service's own statuses and codes.

The codes and statuses are those of "Blob Storage error codes" and "Common REST API error codes" in Azure's REST
reference. A message says what would have been right. `NotImplementedHere` is the emulator's own: 501, with the code
that SDKs show, for everything it knows of and does not do.

BlobStorageError
├── NotModified              304, no body
├── BadRequest               400 and its codes
├── AuthenticationFailed     403
├── NotFound                 404: ContainerNotFound, BlobNotFound
├── Conflict                 409: the state of the thing does not allow it
├── PreconditionFailed       412: a condition in the request does not hold
├── RequestBodyTooLarge      413
├── InvalidRange             416
├── InternalError            500
└── NotImplementedHere       501
"""

from xml.sax.saxutils import escape


class BlobStorageError(Exception):
    """This happened: a request was refused. `status` and `code` go to the client with the message."""

    status = 500
    code = "InternalError"
    message = "The server encountered an internal error. Please retry the request."

    def __init__(self, message: str | None = None, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(message or self.message)
        self.headers = headers or {}

    def to_xml(self, request_id: str, time: str) -> bytes:
        """The body of the answer, in the service's form."""
        text = f"{self}\nRequestId:{request_id}\nTime:{time}"
        return (
            '<?xml version="1.0" encoding="utf-8"?>'
            f"<Error><Code>{self.code}</Code><Message>{escape(text)}</Message></Error>"
        ).encode()


class InternalError(BlobStorageError):
    """This happened: a defect of the emulator, or of the disk under it. Nothing of the request was stored."""


class NotModified(BlobStorageError):
    """This happened: a read was asked for only if something changed, and nothing did."""

    status, code = 304, "ConditionNotMet"
    message = "The condition specified using HTTP conditional header(s) is not met."


class BadRequest(BlobStorageError):
    """This happened: the request itself is wrong. Its subclasses name in what."""

    status, code, message = 400, "InvalidInput", "One of the request inputs is not valid."


class InvalidHeaderValue(BadRequest):
    """This happened: a header's value is not acceptable."""

    code, message = (
        "InvalidHeaderValue",
        "The value for one of the HTTP headers is not in the correct format.",
    )


class MissingRequiredHeader(BadRequest):
    """This happened: a header without which the operation means nothing is absent."""

    code = "MissingRequiredHeader"
    message = "An HTTP header that's mandatory for this request is not specified."


class UnsupportedHeader(BadRequest):
    """This happened: a header that the operation does not honour here, so that it would be silently ignored."""

    code, message = (
        "UnsupportedHeader",
        "One of the HTTP headers specified in the request is not supported.",
    )


class UnsupportedQueryParameter(BadRequest):
    """This happened: a query parameter that the operation does not honour here."""

    code = "UnsupportedQueryParameter"
    message = "One of the query parameters specified in the request URI is not supported."


class InvalidQueryParameterValue(BadRequest):
    """This happened: a query parameter's value is not acceptable."""

    code = "InvalidQueryParameterValue"
    message = "Value for one of the query parameters specified in the request URI is invalid."


class OutOfRangeQueryParameterValue(BadRequest):
    """This happened: a number in the query is too small or too large."""

    code = "OutOfRangeQueryParameterValue"
    message = "One of the query parameters specified in the request URI is outside the permissible range."


class OutOfRangeInput(BadRequest):
    """This happened: a name is too short or too long."""

    code, message = "OutOfRangeInput", "One of the request inputs is out of range."


class InvalidResourceName(BadRequest):
    """This happened: a name has characters or a form that names may not have."""

    code, message = "InvalidResourceName", "The specified resource name contains invalid characters."


class InvalidUri(BadRequest):
    """This happened: the path does not name an account, a container or a blob."""

    code, message = (
        "InvalidUri",
        "The requested URI does not represent any resource on the server.",
    )


class InvalidMetadata(BadRequest):
    """This happened: metadata whose name is no identifier, or whose value no header can carry."""

    code, message = (
        "InvalidMetadata",
        "The metadata specified is invalid. It has characters that are not permitted.",
    )


class MetadataTooLarge(BadRequest):
    """This happened: more than 8 KiB of metadata."""

    code, message = "MetadataTooLarge", "The metadata specified exceeds the maximum permissible limit of 8 KiB."


class InvalidMd5(BadRequest):
    """This happened: Content-MD5 is not the base64 of 16 bytes."""

    code, message = (
        "InvalidMd5",
        "The MD5 value specified in the request is invalid. It must be 128 bits, base64-encoded.",
    )


class Md5Mismatch(BadRequest):
    """This happened: the body is not the one that Content-MD5 was computed from."""

    code = "Md5Mismatch"
    message = "The MD5 value specified in the request did not match with the MD5 value calculated by the server."


class Crc64Mismatch(BadRequest):
    """This happened: the body is not the one that x-ms-content-crc64 was computed from."""

    code = "Crc64Mismatch"
    message = "The CRC64 value specified in the request did not match with the CRC64 value calculated by the server."


class InvalidBlobOrBlock(BadRequest):
    """This happened: a block id unlike the blob's other ones in length."""

    code, message = "InvalidBlobOrBlock", "The specified blob or block content is invalid."


class InvalidBlockId(BadRequest):
    """This happened: a block id that is not the base64 of at most 64 bytes."""

    code, message = "InvalidBlockId", "The specified block ID is invalid. It must be base64 of at most 64 bytes."


class InvalidBlockList(BadRequest):
    """This happened: a block list that names a block that is not there."""

    code, message = "InvalidBlockList", "The specified block list is invalid."


class InvalidXmlDocument(BadRequest):
    """This happened: a body that should be XML of a certain form is not."""

    code, message = "InvalidXmlDocument", "The specified XML is not syntactically valid."


class AuthenticationFailed(BlobStorageError):
    """This happened: the request is not signed with the account's key, or not in time, or not in a way known here."""

    status, code = 403, "AuthenticationFailed"
    message = (
        "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly "
        "including the signature."
    )


class NotFound(BlobStorageError):
    """This happened: what the request names does not exist."""

    status, code, message = 404, "ResourceNotFound", "The specified resource does not exist."


class ContainerNotFound(NotFound):
    """This happened: no container of that name."""

    code, message = "ContainerNotFound", "The specified container does not exist."


class BlobNotFound(NotFound):
    """This happened: no blob of that name in the container."""

    code, message = "BlobNotFound", "The specified blob does not exist."


class Conflict(BlobStorageError):
    """This happened: the thing is not in a state that allows the operation."""

    status, code, message = 409, "ResourceAlreadyExists", "The specified resource already exists."


class ContainerAlreadyExists(Conflict):
    """This happened: a container of that name is there."""

    code, message = "ContainerAlreadyExists", "The specified container already exists."


class BlobAlreadyExists(Conflict):
    """This happened: the blob was to be created, and is there."""

    code, message = "BlobAlreadyExists", "The specified blob already exists."


class InvalidBlobType(Conflict):
    """This happened: an operation of one type of blob was tried on another."""

    code, message = "InvalidBlobType", "The blob type is invalid for this operation."


class BlockCountExceedsLimit(Conflict):
    """This happened: a blob would get more than 50,000 committed blocks."""

    code = "BlockCountExceedsLimit"
    message = "The committed block count cannot exceed the maximum limit of 50,000 blocks."


class PublicAccessNotPermitted(Conflict):
    """This happened: a container was to be readable without a key; this account does not allow that to any."""

    code, message = (
        "PublicAccessNotPermitted",
        "Public access is not permitted on this storage account.",
    )


class PreconditionFailed(BlobStorageError):
    """This happened: a condition that the request set does not hold."""

    status, code = 412, "ConditionNotMet"
    message = "The condition specified using HTTP conditional header(s) is not met."


class AppendPositionConditionNotMet(PreconditionFailed):
    """This happened: the blob does not end where x-ms-blob-condition-appendpos says."""

    code = "AppendPositionConditionNotMet"
    message = "The append position condition specified was not met."


class MaxBlobSizeConditionNotMet(PreconditionFailed):
    """This happened: the blob would grow, or has grown, beyond x-ms-blob-condition-maxsize."""

    code, message = "MaxBlobSizeConditionNotMet", "The max blob size condition specified was not met."


class RequestBodyTooLarge(BlobStorageError):
    """This happened: more bytes than the operation takes at once."""

    status, code = 413, "RequestBodyTooLarge"
    message = "The request body is too large and exceeds the maximum permissible limit."


class InvalidRange(BlobStorageError):
    """This happened: the range begins behind the blob's end."""

    status, code = 416, "InvalidRange"
    message = "The range specified is invalid for the current size of the resource."


class NotImplementedHere(BlobStorageError):
    """This happened: a part of the service that the emulator knows by name and does not do."""

    status, code = 501, "APINotImplemented"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: not supported by this emulator; stand_in/README.md lists what is.")
