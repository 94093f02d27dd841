"""Embeddings: a vector for each text, the same for the same text, model and number of dimensions.

The vectors have length 1, as the service's have, and texts that share words are nearer to each other than texts that
do not: each word adds a direction of its own. That is all the meaning they have.
"""

import asyncio
import base64
import functools
import hashlib
import json
import math
import random
import re
import struct
from typing import Any

from aiohttp import web

from stand_in.azure_openai.completion_request import read_model_name
from stand_in.azure_openai.errors import InvalidRequest, ServiceFault
from stand_in.azure_openai.model_call import Call, ModelService, Surface
from stand_in.azure_openai.tokens import split_tokens

DIMENSIONS = 1536  # as text-embedding-3-small
MOST_INPUTS = 2048
MEMBERS = {"input", "model", "encoding_format", "dimensions", "user", "input_type"}
_WORD = re.compile(r"\w+")


class Embeddings:
    """The handlers."""

    def __init__(self, service: ModelService) -> None:
        self._service = service

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/openai/deployments/{deployment}/embeddings", self.classic)
        router.add_post("/openai/v1/embeddings", self.v1)
        router.add_post("/v1/embeddings", self.plain)

    async def classic(self, request: web.Request) -> web.StreamResponse:
        return await EmbeddingsCall(self._service, request, Surface.CLASSIC).answer()

    async def v1(self, request: web.Request) -> web.StreamResponse:
        return await EmbeddingsCall(self._service, request, Surface.V1).answer()

    async def plain(self, request: web.Request) -> web.StreamResponse:
        return await EmbeddingsCall(self._service, request, Surface.PLAIN).answer()


class EmbeddingsCall(Call):
    """One request for vectors."""

    kind = "embeddings"

    async def run(self) -> web.StreamResponse:
        service, record = self.service, self.record
        record.access, _version = service.check_caller(self.request, self.surface)
        if self.surface is Surface.CLASSIC:
            deployment = service.find_deployment(self.request.match_info["deployment"])
        raw = await self.read_body()
        if self.surface is not Surface.CLASSIC:
            deployment = service.find_deployment(read_model_name(raw))
        record.deployment = deployment.name
        values = _parse(raw)
        inputs = _inputs(values.get("input"))
        dimensions = _dimensions(values.get("dimensions"))
        encoding = values.get("encoding_format") or "float"
        if encoding not in ("float", "base64"):
            raise InvalidRequest(f"Invalid 'encoding_format': {encoding!r} is not float or base64.", "encoding_format")
        tokens = sum(_count(each) for each in inputs)
        self.admit(deployment, tokens, 0)
        fault = await self.meet_fault(deployment)
        if fault is not None and fault.kind in ("cut", "end"):
            await self.reset_connection()
        if fault is not None and fault.kind == "error":
            raise ServiceFault(500, {})
        # Long inputs take seconds of arithmetic; streams of other callers go on meanwhile.
        vectors = await asyncio.to_thread(lambda: [vector_of(_text(each), dimensions) for each in inputs])
        data: list[dict[str, Any]] = [
            {"object": "embedding", "index": index, "embedding": _encode(vector, encoding)}
            for index, vector in enumerate(vectors)
        ]
        record.status = 200
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return web.json_response(
            {"object": "list", "data": data, "model": deployment.model, "usage": usage}, headers=self.headers
        )


def vector_of(text: str, dimensions: int) -> list[float]:
    """A direction for each word, and a little of one for the whole text, together of length 1."""
    words = _WORD.findall(text.lower())
    total = [0.1 * part for part in _direction(f"whole {text}", dimensions)]
    for word in words:
        for index, part in enumerate(_direction(word, dimensions)):
            total[index] += part
    length = math.sqrt(sum(part * part for part in total))
    return [part / length for part in total]


@functools.lru_cache(maxsize=1024)
def _direction(seed: str, dimensions: int) -> tuple[float, ...]:
    chance = random.Random(hashlib.sha256(seed.encode("utf-8", "surrogatepass")).hexdigest())
    return tuple(chance.random() - 0.5 for _ in range(dimensions))


def _encode(vector: list[float], encoding: str) -> list[float] | str:
    packed = struct.pack(f"<{len(vector)}f", *vector)
    if encoding == "base64":
        return base64.b64encode(packed).decode()
    return list(struct.unpack(f"<{len(vector)}f", packed))  # both encodings have single precision


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        values = json.loads(raw)
    except ValueError as error:
        raise InvalidRequest(f"We could not parse the JSON body of your request: {error}.") from error
    if not isinstance(values, dict):
        raise InvalidRequest("The body of a request for embeddings is a JSON object.")
    for name in values:
        if name not in MEMBERS:
            raise InvalidRequest(f"Unrecognized request argument supplied: {name}")
    return values


def _inputs(value: object) -> list[str | list[int]]:
    """A text, several, or the same as lists of token numbers."""
    if isinstance(value, str):
        inputs: list[Any] = [value]
    elif isinstance(value, list) and value and all(type(each) is int for each in value):
        inputs = [value]
    else:
        inputs = value if isinstance(value, list) else []
    if not 0 < len(inputs) <= MOST_INPUTS or not all(_is_input(each) for each in inputs):
        message = f"Invalid 'input': a string, or a list of 1 to {MOST_INPUTS} strings, none of them empty."
        raise InvalidRequest(message, "input")
    return inputs


def _is_input(value: object) -> bool:
    return bool(value) and (
        isinstance(value, str) or (isinstance(value, list) and all(type(each) is int for each in value))
    )


def _dimensions(value: object) -> int:
    if value is None:
        return DIMENSIONS
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= DIMENSIONS:
        raise InvalidRequest(f"Invalid 'dimensions': an integer from 1 to {DIMENSIONS}.", "dimensions")
    return value


def _text(value: str | list[int]) -> str:
    return value if isinstance(value, str) else " ".join(map(str, value))


def _count(value: str | list[int]) -> int:
    return len(split_tokens(value)) if isinstance(value, str) else len(value)
