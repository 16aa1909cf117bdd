"""The two promises every model backend keeps: draw a picture, answer a chat.

Roles import these names and nothing else of a backend, so a role never knows whether a picture came from a GPU, from a
server or from the embedded storyboard. Implementations live in the modules beside this one and are opened by `opening`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """What an image model is asked to draw."""

    prompt: str
    seed: int
    """0 to 2**32 - 1. The same request drawn twice by the same model gives the same picture."""
    width_px: int
    height_px: int
    steps: int | None = None
    """Of denoising; None: as the model does by itself. Likewise `guidance` and `negative_prompt`."""
    guidance: float | None = None
    negative_prompt: str | None = None
    exact: bool = False
    """It is drawn alone, so that not even rounding depends on what else is drawn."""
    interactive: bool = False
    """Somebody waits for it, so it goes before those for which nobody does."""


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """One encoded picture."""

    data: bytes
    media_type: str
    """`image/png`, `image/jpeg` or `image/webp`."""
    width_px: int
    height_px: int
    details: Mapping[str, float] = field(default_factory=dict)
    """What its drawing took, as far as the model tells: seconds a stage, requests in its batch."""


class ImageModel(Protocol):
    """Draws pictures; safe to call from many tasks at once."""

    @property
    def capacity(self) -> int:
        """How many requests it should be given at once."""
        ...

    def figures(self) -> dict[str, float]:
        """Return what it reports of itself, for `gems status`."""
        ...

    async def generate(self, request: ImageRequest) -> GeneratedImage:
        """Return the picture of one request.

        Raises:
            BackendError: the model could not draw it; says why.
        """
        ...


@dataclass(frozen=True, slots=True)
class TextPart:
    """Words in a chat message."""

    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """A picture in a chat message."""

    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One turn of a chat, its parts in the order in which the model reads them."""

    speaker: Literal["system", "user", "assistant"]
    parts: tuple[TextPart | ImagePart, ...]


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One call of a chat model: the rendered messages, and what they were rendered from.

    A language model reads `messages`; the storyboard, which is rules and no language model, reads `task` and `fields`.
    """

    task: Literal["route_skill", "write_prompt", "decompose", "verify", "verify_all", "compress", "refine", "judge"]
    fields: Mapping[str, Any]
    messages: tuple[ChatMessage, ...]
    choices: tuple[str, ...] = ()
    """Where one of these words is the answer, or begins it: a model that tells probabilities is asked for theirs."""
    schema: Mapping[str, Any] | None = None
    """JSON schema of the answer, for servers that can be held to one; others read in the messages what is wanted."""
    temperature: float | None = None
    """Where the task prescribes one; None: as the settings have it."""
    interactive: bool = False
    """Somebody waits for it, so it goes before those for which nobody does."""


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What a chat model said."""

    text: str
    reasoning: str = ""
    """Its thinking where the model gives it apart from the answer, else empty."""
    usage: Mapping[str, int] = field(default_factory=dict)
    """`prompt_tokens`, `completion_tokens`, `cached_tokens`, as far as the server counts them."""
    calls: int = 1
    """Of the server, for this answer."""
    cost: float = 0.0
    """By the prices in the settings, in their currency."""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    """Of the request's choices, together 1; empty where the model does not tell them."""


class ChatModel(Protocol):
    """Answers chats; safe to call from many tasks at once."""

    def figures(self) -> dict[str, float]:
        """Return what it reports of itself, for `gems status`."""
        ...

    def note(self) -> str:
        """Return what is wrong with it just now, in words, for `gems status`; empty while nothing is."""
        ...

    async def chat(self, request: ChatRequest) -> ChatReply:
        """Return the model's answer to one request.

        Raises:
            BackendError: the model could not be asked, or gave no answer.
        """
        ...
