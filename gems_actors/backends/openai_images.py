"""Images from any server with OpenAI's Images API: vLLM-Omni, SGLang Diffusion, hosted models.

Source: platform.openai.com, POST /v1/images/generations and /v1/images/edits; `seed` and further fields as vLLM-Omni
and SGLang take them.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec

from gems_actors.backends import GeneratedImage, ImageRequest
from gems_actors.backends.failover import DEFAULT_RETRY, RetryPolicy
from gems_actors.backends.image_server import MAX_REPLY_BYTES, ServerImageModel
from gems_actors.backends.model_server import ModelServer, StatusError, open_model_server
from gems_actors.backends.pictures import usable_picture
from gems_actors.config import ImageConfig
from gems_actors.errors import RequestError, UnsupportedError

_NO_SUCH_PATH: Final = (404, 405, 501)
"""What servers answer to a path that they do not have."""


@asynccontextmanager
async def open_openai_images(
    config: ImageConfig, *, retry: RetryPolicy = DEFAULT_RETRY, max_reply_bytes: int = MAX_REPLY_BYTES
) -> AsyncIterator[OpenAIImageModel]:
    """Open the connections to the server in the settings.

    Raises:
        ConfigError: there is no address, the key cannot be read, or the environment does not let it be reached.
    """
    async with open_model_server("image", "image", config) as server:
        yield OpenAIImageModel(config, server, retry, max_reply_bytes)


class OpenAIImageModel(ServerImageModel):
    """Requests one picture per call; safe to call from many tasks at once."""

    @property
    def can_edit(self) -> bool:
        """Whether the settings say that the server also draws from pictures."""
        return self._config.edits

    async def _draw(self, request: ImageRequest, server: ModelServer) -> GeneratedImage:
        reply = await self._ask(request, server)
        failure: RequestError = server.unexpected('a picture in "data", as b64_json or as url', reply)
        for number, place in enumerate(self._places_in(reply)):
            try:
                return await self._picture_at(place, server)
            except RequestError as error:  # the next one may be usable
                failure = error if number == 0 else failure
        raise failure

    async def _ask(self, request: ImageRequest, server: ModelServer) -> bytes:
        fields = self._fields_of(request)
        if not request.references:
            return await server.post("images/generations", fields, max_bytes=self._max_reply_bytes)
        name = "image" if len(request.references) == 1 else "image[]"  # as OpenAI's own clients name it
        files = [
            (name, (f"{number}.{part.media_type.removeprefix('image/')}", part.data, part.media_type))
            for number, part in enumerate(request.references, 1)
        ]
        texts = {key: _text_of(value) for key, value in fields.items()}
        try:
            return await server.post_form("images/edits", texts, files, max_bytes=self._max_reply_bytes)
        except StatusError as error:
            if error.status not in _NO_SUCH_PATH:
                raise
            hint = "set image.edits = false if it draws from text alone"
            raise UnsupportedError(f"{error}; expected a server that draws from pictures; {hint}") from error

    def _fields_of(self, request: ImageRequest) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "prompt": request.prompt,
            "n": 1,
            "size": f"{request.width_px}x{request.height_px}",
            "seed": request.seed,
            "response_format": "b64_json",
        }
        if self._config.model is not None:
            fields["model"] = self._config.model
        requested = {  # the request takes precedence over the settings
            "num_inference_steps": request.steps,
            "guidance_scale": request.guidance,
            "negative_prompt": request.negative_prompt,
            "strength": request.strength if request.references else None,
        }
        fields |= self._config.extra | {name: value for name, value in requested.items() if value is not None}
        return {name: value for name, value in fields.items() if name not in self._config.omit}

    def _places_in(self, reply: bytes) -> Iterator[tuple[str, str]]:
        """Yield where the pictures of a reply are, those inside it first: the field, and base64 or an address."""
        try:
            items = msgspec.json.decode(reply, type=_Reply).data
        except (ValueError, RecursionError) as error:
            raise self._server.unexpected('JSON with a picture in "data"', reply) from error
        for item in items:
            for field in ("b64_json", "url"):
                text = item.get(field) if isinstance(item, dict) else None
                if isinstance(text, str) and text.strip():
                    yield field, text.strip()

    async def _picture_at(self, place: tuple[str, str], server: ModelServer) -> GeneratedImage:
        field, text = place
        if field == "b64_json" or text[:5].lower() == "data:":
            return await self._in_thread(_picture_in, text)
        return await self._decode(await server.fetch(text, max_bytes=self._max_reply_bytes))


def _text_of(value: Any) -> str:
    """Return the value of a field as a form has it: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _picture_in(text: str) -> GeneratedImage:
    """Return the picture in base64 or in a `data:` address.

    Raises:
        ValueError: it is neither, or the picture cannot be used.
    """
    if text[:5].lower() != "data:":
        return usable_picture(_decode_base64(text))
    head, comma, body = text.partition(",")
    if not comma:
        raise ValueError(f"expected a data: address with a comma, got {len(text)} characters: {text[:60]!r}")
    data = unquote_to_bytes(body)
    is_base64 = head.lower().replace(" ", "").endswith(";base64")
    return usable_picture(_decode_base64(data.decode("latin-1")) if is_base64 else data)


def _decode_base64(text: str) -> bytes:
    """Return the bytes in base64 of either alphabet, with or without line breaks and padding."""
    plain = "".join(text.split()).translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError as error:
        raise ValueError(f"expected base64, got {len(text)} characters: {text[:60]!r}: {error}") from error


class _Reply(msgspec.Struct):
    data: list[Any]
