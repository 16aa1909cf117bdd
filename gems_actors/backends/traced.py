"""Models whose calls are recorded as spans; used only where traces are on."""

from __future__ import annotations

from typing import Any

from gems_actors.backends import ChatModel, ChatReply, ChatRequest, GeneratedImage, ImageModel, ImageRequest
from gems_actors.ops import tracing


class TracedChatModel:
    """A chat model that records each call, with the tokens that it took."""

    def __init__(self, model: ChatModel, name: str) -> None:
        """Wrap a model; `name` is that of its spans."""
        self._model, self._name = model, name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    async def chat(self, request: ChatRequest) -> ChatReply:
        """Return the model's answer, as the model does."""
        with tracing.calling_model("chat", self._name, {"gems.task": request.task}) as span:
            reply = await self._model.chat(request)
            if span is not None:
                span.set_attribute("gems.calls", reply.calls)
                span.set_attribute("gen_ai.usage.input_tokens", reply.usage.get("prompt_tokens", 0))
                span.set_attribute("gen_ai.usage.output_tokens", reply.usage.get("completion_tokens", 0))
            return reply


class TracedImageModel:
    """An image model that records each picture."""

    def __init__(self, model: ImageModel, name: str) -> None:
        """Wrap a model; `name` is that of its spans."""
        self._model, self._name = model, name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    async def generate(self, request: ImageRequest) -> GeneratedImage:
        """Return the picture of a request, as the model does."""
        attributes: dict[str, str | int | float | bool] = {
            "gen_ai.output.type": "image",
            "gen_ai.request.seed": request.seed,
            "gems.width_px": request.width_px,
            "gems.height_px": request.height_px,
        }
        with tracing.calling_model("generate_content", self._name, attributes):
            return await self._model.generate(request)
