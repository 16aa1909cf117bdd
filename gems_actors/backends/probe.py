"""Tries out a chat server for `gems doctor`: its models, whether they see, and what it can do beyond answering.

It asks each thing once and does not wait for a server that is busy or away.
"""

from __future__ import annotations

from io import BytesIO
from typing import Final

import msgspec
from PIL import Image as Pillow

from gems_actors.backends import ChatMessage, ChatRequest, ImagePart, TextPart
from gems_actors.backends.model_server import ModelServer, open_model_server
from gems_actors.backends.openai_chat import Endpoint, Said
from gems_actors.config import ChatModelConfig, ChatServerConfig
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
    """What was found out about a server."""

    models: tuple[str, ...]
    """Those that it names, as far as it does."""
    answer: str
    """To the question whether a red picture is red."""
    features: tuple[str, ...]
    """What it can do, in words."""


async def probe_chat(table: str, server: ChatServerConfig, model: ChatModelConfig) -> Probe:
    """Ask a server what it is and what it can do.

    Args:
        table: of its settings.
        server: where it is.
        model: the settings that it shares with its fallbacks.

    Raises:
        ConfigError: its key is not where the settings say.
        RequestError: it does not answer a question about a picture; says why.
    """
    async with open_model_server("chat", table, server) as connection:
        endpoint = Endpoint(connection, server, model)
        said = await endpoint.answer(_question(choices=("yes", "no", "unsure")))
        if said.probabilities:
            likeliest, chance = max(said.probabilities.items(), key=lambda item: item[1])
            answer, thinks = f"{likeliest} ({100 * chance:.0f} %)", False
        else:
            text, reasoning = said.read()
            answer, thinks = " ".join(text.split())[:40], bool(reasoning)
        features = [
            "tells probabilities" if endpoint.tells_probabilities else "tells no probabilities",
            await _try_schema(endpoint),
            *(["thinks"] if thinks else []),
            *(["counts cached tokens"] if (await _ask_again(endpoint, said)) else []),
            connection.http_version,
        ]
        return Probe(models=await _models_of(connection), answer=answer, features=tuple(features))


def _question(choices: tuple[str, ...] = (), schema: dict[str, object] | None = None) -> ChatRequest:
    file = BytesIO()
    Pillow.new("RGB", (64, 64), "red").save(file, "PNG")
    parts = (ImagePart(file.getvalue(), "image/png"), TextPart(_QUESTION))
    return ChatRequest("verify", {}, (ChatMessage("user", parts),), choices=choices, schema=schema)


async def _try_schema(endpoint: Endpoint) -> str:
    is_wanted = endpoint.takes_schema
    if not is_wanted:
        return "is not asked for JSON by its schema"
    try:
        text, _ = (await endpoint.answer(_question(schema=_SCHEMA))).read()
    except RequestError:
        return "gives no answer to a JSON schema"
    if not endpoint.takes_schema:
        return "refuses JSON schemas"
    try:
        msgspec.json.decode(text, type=_Shaped)
    except msgspec.DecodeError:
        return "takes JSON schemas and does not keep them"
    return "keeps to JSON schemas"


async def _ask_again(endpoint: Endpoint, said: Said) -> int:
    """Return how many tokens of a question that was asked before the server says it had in its cache."""
    try:
        return max(said.usage["cached_tokens"], (await endpoint.answer(_question())).usage["cached_tokens"])
    except RequestError:
        return 0


async def _models_of(server: ModelServer) -> tuple[str, ...]:
    """Return the names of the models; none where the server does not list them, as some do not."""
    try:
        return tuple(
            item.id for item in msgspec.json.decode(await server.get("models", max_bytes=_MAX_BYTES), type=_Models).data
        )
    except (RequestError, ValueError, RecursionError):
        return ()
