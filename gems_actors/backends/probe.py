"""Probes of model servers for `gems doctor`: their models, whether these see pictures, and their optional features.

Each request is sent once; a busy or unreachable server is not waited for.
"""

from __future__ import annotations

from io import BytesIO
from typing import Final

import msgspec
from PIL import Image as Pillow

from gems_actors.backends import ChatMessage, ChatRequest, ImagePart, TextPart
from gems_actors.backends.failover import LateError, UnreachableError
from gems_actors.backends.model_server import ModelServer, open_model_server
from gems_actors.backends.openai_chat import Completion, Endpoint
from gems_actors.config import ChatModelConfig, ChatServerConfig, ImageConfig
from gems_actors.errors import RequestError

_MAX_BYTES: Final = 4 * 1024 * 1024
_QUESTION: Final = "Is the whole picture red? Answer with one word: yes, no or unsure."
_SCHEMA: Final = {
    "type": "object",
    "properties": {"is_red": {"type": "boolean"}},
    "required": ["is_red"],
    "additionalProperties": False,
}


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


class _Shaped(msgspec.Struct, forbid_unknown_fields=True):
    is_red: bool


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """Result of probing a server."""

    models: tuple[str, ...]
    """Names of the models that the server lists."""
    answer: str
    """Answer to the question whether a red picture is red."""
    features: tuple[str, ...]
    """Optional features that the server has or lacks, in words."""


async def probe_chat(table: str, server: ChatServerConfig, model: ChatModelConfig) -> Probe:
    """Find out a server's models and optional features.

    Raises:
        ConfigError: its key cannot be read.
        RequestError: the server does not answer a question about a picture.
    """
    async with open_model_server("chat", table, server) as connection:
        endpoint = Endpoint(connection, server, model)
        completion = await endpoint.answer(_question(choices=("yes", "no", "unsure")))
        if completion.probabilities:
            likeliest, probability = max(completion.probabilities.items(), key=lambda item: item[1])
            answer, thinks = f"{likeliest} ({100 * probability:.0f} %)", False
        else:
            text, reasoning = completion.read()
            answer, thinks = " ".join(text.split())[:40], bool(reasoning)
        features = [
            "gives probabilities" if endpoint.gives_probabilities else "gives no probabilities",
            await _try_schema(endpoint),
            *(["thinks"] if thinks else []),
            *(["counts cached tokens"] if await _repeat_for_cached_tokens(endpoint, completion) else []),
            connection.http_version,
        ]
        return Probe(models=await _models_of(connection), answer=answer, features=tuple(features))


async def probe_images(config: ImageConfig) -> tuple[str, ...]:
    """Return the models of an image server; none if it answers without naming them.

    Raises:
        ConfigError: its key cannot be read, or the environment does not let it be reached.
        UnreachableError, LateError: the server does not answer.
    """
    async with open_model_server("image", "image", config) as server:
        return await _models_of(server)


def _question(choices: tuple[str, ...] = (), schema: dict[str, object] | None = None) -> ChatRequest:
    file = BytesIO()
    Pillow.new("RGB", (64, 64), "red").save(file, "PNG")
    parts = (ImagePart(file.getvalue(), "image/png"), TextPart(_QUESTION))
    return ChatRequest("verify", {}, (ChatMessage("user", parts),), choices=choices, schema=schema)


async def _try_schema(endpoint: Endpoint) -> str:
    are_schemas_on = endpoint.takes_schema
    if not are_schemas_on:
        return "JSON schemas are off"
    try:
        text, _ = (await endpoint.answer(_question(schema=_SCHEMA))).read()
    except RequestError:
        return "gives no answer with a JSON schema"
    if not endpoint.takes_schema:
        return "refuses JSON schemas"
    try:
        msgspec.json.decode(text, type=_Shaped)
    except msgspec.DecodeError:
        return "accepts JSON schemas but ignores them"
    return "follows JSON schemas"


async def _repeat_for_cached_tokens(endpoint: Endpoint, completion: Completion) -> int:
    """Return the cached tokens that the server reports when the same question is repeated."""
    try:
        return max(completion.usage["cached_tokens"], (await endpoint.answer(_question())).usage["cached_tokens"])
    except RequestError:
        return 0


async def _models_of(server: ModelServer) -> tuple[str, ...]:
    """Return the names of the models; empty if the server does not list them."""
    try:
        return tuple(
            item.id for item in msgspec.json.decode(await server.get("models", max_bytes=_MAX_BYTES), type=_Models).data
        )
    except (UnreachableError, LateError):
        raise
    except (RequestError, ValueError, RecursionError):
        return ()
