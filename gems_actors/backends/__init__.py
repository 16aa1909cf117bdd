"""Interfaces of model backends: `ImageModel` and `ChatModel`, with their requests and replies.

Roles import these names and `factory`, which opens the implementations in this package, so no role depends on whether a
picture comes from a GPU, a server or the embedded storyboard. Prompts and roles must not live here.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from typing import Any, Final, Literal, Protocol

MEDIA_TYPES: Final = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
"""Media types of pictures by the names of their formats in Pillow."""


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """Request for one picture."""

    prompt: str
    seed: int
    """Seed, 0 to 2**32 - 1; the same request to the same model gives the same picture."""
    width_px: int
    height_px: int
    steps: int | None = None
    """Denoising steps; None for the model's default, as in `guidance` and `negative_prompt`."""
    guidance: float | None = None
    negative_prompt: str | None = None
    exact: bool = False
    """Whether batching is disabled for this picture, so that its rounding depends on no other request."""
    interactive: bool = False
    """Whether a user waits for it; interactive requests go ahead of bulk work."""
    references: tuple[ImagePart, ...] = ()
    """Pictures to draw from, as they are in the store; only for models with `can_edit`."""
    strength: float | None = None
    """Share of the denoising applied to the first reference, above 0 to 1; None for the model's default."""
    task_seed: int | None = None
    """Seed that the user gave, for models that show it; the seeds of later rounds are derived from it."""


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """One encoded picture."""

    data: bytes
    media_type: str
    """Media type: `image/png`, `image/jpeg` or `image/webp`."""
    width_px: int
    height_px: int
    details: Mapping[str, float] = field(default_factory=dict)
    """Measurements that the model reports: seconds per stage, requests in the batch."""
    can_be_edited: bool = True
    """Whether a model with `can_edit` edits it by an instruction; false where prompts describe the whole picture, as in
    image to image."""

    @classmethod
    def from_file(cls, data: bytes) -> GeneratedImage:
        """Return the picture in a file, with the type and size that its header states.

        Raises:
            ValueError: the file is not a PNG, JPEG or WebP picture.
        """
        from PIL import Image as Pillow  # most roles handle no pictures

        try:
            with Pillow.open(BytesIO(data), formats=tuple(MEDIA_TYPES)) as picture:
                return cls(data, MEDIA_TYPES[picture.format or ""], *picture.size)
        except (OSError, KeyError, Pillow.DecompressionBombError) as error:
            raise ValueError(f"expected a PNG, JPEG or WebP picture, got {len(data)} bytes: {error}") from error


class ImageModel(Protocol):
    """Draws pictures; safe to call from many tasks at once.

    A model that also draws from pictures says so by a true attribute `can_edit`; no other one is given references.
    """

    @property
    def capacity(self) -> int:
        """Requests that the model handles at once."""

    def figures(self) -> dict[str, float]:
        """Return the model's measurements, for `gems status`."""

    async def generate(self, request: ImageRequest) -> GeneratedImage:
        """Return the picture of one request.

        Raises:
            RefusedError: the model will never draw this request.
            OverloadedError: the model was busy until the deadline.
            BackendError: the model failed.
        """


@dataclass(frozen=True, slots=True)
class TextPart:
    """Text in a chat message."""

    text: str


@dataclass(frozen=True)
class ImagePart:
    """A picture in a chat message, or one that another picture is drawn from."""

    data: bytes
    media_type: str

    @cached_property
    def data_url(self) -> str:
        """The picture as a `data:` address; kept, because a verifier asks many questions about one picture."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One turn of a chat, its parts in the order in which the model reads them."""

    speaker: Literal["system", "user", "assistant"]
    parts: tuple[TextPart | ImagePart, ...]


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One call of a chat model: the rendered messages, and the data that they were rendered from.

    Language models read `messages`; the storyboard, which follows rules, reads `task` and `fields`.
    """

    task: str
    """Name of the task, such as `decompose`; the storyboard knows those of the built-in roles and of the judge."""
    fields: Mapping[str, Any]
    messages: tuple[ChatMessage, ...]
    choices: tuple[str, ...] = ()
    """Words of which the answer is, or begins with, one; models that report probabilities score each of them."""
    schema: Mapping[str, Any] | None = None
    """JSON schema of the answer, for servers that can enforce one; the messages describe the format as well."""
    needs_pictures: bool = True
    """Whether its pictures are essential; otherwise a model that reads only text is asked without them."""
    temperature: float | None = None
    """Temperature that the task prescribes; None for the one in the settings."""
    vary: bool = False
    """Whether another answer than before is needed, so that a temperature near 0 is raised."""
    vote: int = 0
    """Number of this answer among several to the same question; a seed in the settings is raised by it."""
    interactive: bool = False
    """Whether a user waits for it; interactive requests go ahead of bulk work."""


@dataclass(frozen=True, slots=True)
class ChatReply:
    """Answer of a chat model."""

    text: str
    reasoning: str = ""
    """The model's thinking, if it comes apart from the answer; empty otherwise."""
    usage: Mapping[str, int] = field(default_factory=dict)
    """Token counts that the server reports: `prompt_tokens`, `completion_tokens`, `cached_tokens`."""
    calls: int = 1
    """Calls of the server that this answer took."""
    cost: float = 0.0
    """Cost by the prices in the settings, in their currency."""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    """Probability of each of the request's choices, summing to 1; empty if the model reports none."""


class ChatModel(Protocol):
    """Answers chats; safe to call from many tasks at once."""

    def figures(self) -> dict[str, float]:
        """Return the model's measurements, for `gems status`."""

    def note(self) -> str:
        """Return what is wrong with the model now, for `gems status`; empty if nothing is."""

    async def chat(self, request: ChatRequest) -> ChatReply:
        """Return the model's answer to one request.

        Raises:
            RefusedError: the server or the model refused the request.
            OverloadedError: the servers were busy until the deadline.
            BackendError: the model failed.
            ModelOutputError: the model gave no usable answer.
        """


class TextReader(Protocol):
    """Reads the texts in pictures; safe to call from many tasks at once."""

    async def read(self, data: bytes) -> tuple[str, ...]:
        """Return the lines of text in an encoded picture, from top to bottom; none if there is no text.

        Raises:
            BackendError: the picture cannot be read, or the reader failed.
        """
