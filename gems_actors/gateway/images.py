"""OpenAI's Images API: `POST /v1/images/generations` and `edits`, `GET /v1/models`, and pictures that answers name."""

from __future__ import annotations

import time
from base64 import b64encode
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog
import trio
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from gems_actors.app.draw_progress import count_met
from gems_actors.app.references.pictures import Reference
from gems_actors.config import MeshConfig
from gems_actors.errors import BlobError, RequestError
from gems_actors.gateway.answers import Emit, EventStream, Gone, error_answer, json_answer, until_disconnected
from gems_actors.gateway.api_errors import ApiError, api_error_of
from gems_actors.gateway.catalogue import models_of
from gems_actors.gateway.draws import Draws
from gems_actors.gateway.edits.forms import parse_form
from gems_actors.gateway.edits.parsing import Edit, parse_edit
from gems_actors.gateway.edits.uploads import MAX_UPLOAD_BYTES, UPLOAD_TIMEOUT_S, UploadRoom
from gems_actors.gateway.front import caller_of, read_body
from gems_actors.gateway.image_request import PictureOrder, order_of, parse_image_fields
from gems_actors.gateway.links import Links
from gems_actors.gateway.repeats import Repeats, RunNaming
from gems_actors.gateway.tokens import Caller
from protocol.costs import chat_cost, sum_spent
from protocol.messages import Attempt, DrawPicture, ImageRef, Picture

LINKS_PATH: Final = "/v1/gems/pictures/"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request for pictures."""

    order: PictureOrder
    body: Struct
    """What names its pictures when it is repeated."""
    caller: Caller
    key: str | None
    event: str
    """Beginning of the names of its events."""
    references: list[Reference]
    """Pictures that they are drawn from, until they are in the store."""

    def tasks(self, naming: RunNaming) -> tuple[DrawPicture, ...]:
        """Return the requests to the mesh."""
        seed = naming.seed if self.order.seed is None else self.order.seed
        _log.info("pictures_requested", caller=self.caller.name, run=naming.run, pictures=self.order.count)
        return self.order.tasks(naming.run, seed, naming.version)


class Images:
    """The routes of the Images API."""

    def __init__(self, config: MeshConfig, draws: Draws, repeats: Repeats, uploads: UploadRoom) -> None:
        self._config, self._draws, self._repeats = config, draws, repeats
        self._links = Links()
        self._uploads = uploads
        self._started_at = int(time.time())

    async def generate(self, request: Request) -> Response:
        """Draw pictures of a prompt; a client that disconnects withdraws them."""
        fields = parse_image_fields(await read_body(request))
        order = order_of(fields, self._config)
        return await self._answer(
            request, _asked(request, order, fields, "image_generation", []), streams=fields.stream
        )

    async def edit(self, request: Request) -> Response:
        """Draw pictures from those in a form."""
        with self._uploads.hold() as take:
            form = await read_body(
                request, MAX_UPLOAD_BYTES, UPLOAD_TIMEOUT_S, media_type="multipart/form-data", room=take
            )
            parse = partial(self._parse_edit, form, request.headers["content-type"])
            del form
            edit = await trio.to_thread.run_sync(parse, limiter=self._uploads.decoding)
        asked = _asked(request, edit.order, edit.body, "image_edit", edit.references)
        return await self._answer(request, asked, streams=edit.fields.stream)

    def _parse_edit(self, form: bytes, content_type: str) -> Edit:
        return parse_edit(parse_form(form, content_type), self._config)

    async def _answer(self, request: Request, asked: _Asked, *, streams: bool) -> Response:
        if streams:
            return EventStream(partial(self._stream, asked))
        answer: Response = Gone()

        async def draw() -> None:
            nonlocal answer
            try:
                async with self._repeats.named(asked.caller.name, asked.key, asked.body) as naming:
                    tasks = asked.tasks(naming)
                    pictures = await self._draws.draw(asked.caller, tasks, references=asked.references)
                answer = json_answer(await self._describe(asked.order, tasks, pictures, str(request.base_url)))
            except (ApiError, RequestError) as error:
                answer = error_answer(error if isinstance(error, ApiError) else api_error_of(error))

        await until_disconnected(request.receive, draw)
        return answer

    async def _stream(self, asked: _Asked, emit: Emit) -> None:
        """Draw one picture, and emit the best image of each round, then the picture."""
        order, shown = asked.order, 0

        async def show_round(attempt: Attempt) -> None:
            nonlocal shown
            if order.partial_images is not None and shown >= order.partial_images:
                return
            try:
                data = await self._draws.read_image(attempt.image, order.picture_format, order.compression)
            except BlobError as error:  # the next round, or the picture, takes its place
                _log.warning("round_not_shown", digest=attempt.image.digest, reason=str(error))
                return
            event = f"{asked.event}.partial_image"
            about = {"round": attempt.round, "met": count_met(attempt), "requirements": len(attempt.verdicts)}
            tree = _event_of(event, order, attempt.image, data, {**about, "prompt": attempt.shown_prompt})
            await emit(event, tree | {"partial_image_index": shown})
            shown += 1

        async with self._repeats.named(asked.caller.name, asked.key, asked.body) as naming:
            tasks = asked.tasks(naming)
            (picture,) = await self._draws.draw(asked.caller, tasks, show_round, asked.references)
        data = await self._draws.read(picture, tasks[0], order.picture_format, order.compression)
        event = f"{asked.event}.completed"
        tree = _event_of(event, order, picture.best.image, data, self._draws.story_of(picture, tasks[0]))
        await emit(event, tree | {"revised_prompt": picture.final_prompt, "usage": usage_of((picture,))})

    async def refuse_variations(self, request: Request) -> Response:
        """Answer that there are no variations."""
        await trio.lowlevel.checkpoint()
        text = "variations: expected edits, because a prompt says what changes in a picture"
        raise ApiError(501, text, code="not_implemented")

    async def list_models(self, request: Request) -> Response:
        """List the image model with each strategy."""
        await trio.lowlevel.checkpoint()
        return json_answer({"object": "list", "data": [self._model(id_) for id_ in models_of(self._config)]})

    async def show_model(self, request: Request) -> Response:
        """Show one of the models."""
        await trio.lowlevel.checkpoint()
        id_ = str(request.path_params["model"])
        if id_ not in (models := models_of(self._config)):
            known = ", ".join(models)
            raise ApiError(404, f"model: expected one of {known}, got {id_[:200]!r}", code="model_not_found")
        return json_answer(self._model(id_))

    async def show_picture(self, request: Request) -> Response:
        """Send a picture that an answer referred to."""
        found = self._links.find(trio.current_time(), str(request.path_params["name"]))
        if found is None:
            raise ApiError(404, "picture: expected an address of the last hour, got another", code="not_found")
        try:
            data = await self._draws.read_image(found.image, found.picture_format, found.compression)
        except BlobError as error:
            raise api_error_of(error) from error
        return Response(
            data, headers={"cache-control": "private, max-age=3600"}, media_type=f"image/{found.picture_format}"
        )

    def _model(self, id_: str) -> dict[str, Any]:
        return {"id": id_, "object": "model", "created": self._started_at, "owned_by": "gems-actors"}

    async def _describe(
        self, order: PictureOrder, tasks: tuple[DrawPicture, ...], pictures: tuple[Picture, ...], base: str
    ) -> dict[str, Any]:
        """Return the body of an answer with pictures."""
        items = []
        for task, picture in zip(tasks, pictures, strict=True):
            item: dict[str, Any] = {"revised_prompt": picture.final_prompt, "gems": self._draws.story_of(picture, task)}
            if order.wants_urls:
                name = self._links.add(trio.current_time(), picture.best.image, order.picture_format, order.compression)
                item["url"] = f"{base.rstrip('/')}{LINKS_PATH}{name}"
            else:
                data = await self._draws.read(picture, task, order.picture_format, order.compression)
                item["b64_json"] = b64encode(data).decode()
            items.append(item)
        best = pictures[0].best.image
        return {
            "created": int(time.time()),
            "data": items,
            "model": order.model,
            "background": "opaque",
            "output_format": order.picture_format,
            "size": f"{best.width_px}x{best.height_px}",
            "usage": usage_of(pictures),
        }


def _asked(request: Request, order: PictureOrder, body: Struct, event: str, references: list[Reference]) -> _Asked:
    key = request.headers.get("idempotency-key")
    return _Asked(order, body, caller_of(request), key, event, references)


def _event_of(event: str, order: PictureOrder, image: ImageRef, data: bytes, about: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": event,
        "b64_json": b64encode(data).decode(),
        "created_at": int(time.time()),
        "size": f"{image.width_px}x{image.height_px}",
        "quality": "auto",
        "background": "opaque",
        "output_format": order.picture_format,
        "gems": about,
    }


def usage_of(pictures: tuple[Picture, ...]) -> dict[str, Any]:
    """Return what chat models cost, in the words of OpenAI's API."""
    spent = sum_spent(*(chat_cost(picture.spent) for picture in pictures))
    return {
        "input_tokens": spent.prompt_tokens,
        "input_tokens_details": {"text_tokens": spent.prompt_tokens, "image_tokens": 0},
        "output_tokens": spent.completion_tokens,
        "total_tokens": spent.tokens,
    }
