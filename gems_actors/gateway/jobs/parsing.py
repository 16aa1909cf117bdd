"""The body of `POST /v1/gems/jobs`. Pure."""

from __future__ import annotations

import base64
import binascii
import secrets
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from gems_actors.app.options import MAX_SEED
from gems_actors.app.references.pictures import Reference
from gems_actors.config import MeshConfig
from gems_actors.config.checks import Checker
from gems_actors.errors import ConfigError
from gems_actors.gateway.api_errors import ApiError
from gems_actors.gateway.edits.parsing import EditFields, files_in, order_from, references_in
from gems_actors.gateway.image_request import ImageFields, checked_prompt, field_error, image_fields_of
from gems_actors.gateway.jobs.records import Job, JobPicture, Webhook
from protocol.messages.values import Seed

MAX_PICTURES: Final = 1000
_MIN_SECRET_BYTES: Final = 16


class _Prompt(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    prompt: str
    seed: Seed | None = None


class _WebhookFields(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    url: Annotated[str, Meta(max_length=2000, description="the address of a server, of up to 2,000 characters")]
    secret: Annotated[str, Meta(max_length=200, description="text of up to 200 characters")]


class _JobFields(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    prompts: tuple[Annotated[_Prompt, Meta(description="text, or an object with prompt and seed")], ...]
    webhook: Annotated[_WebhookFields, Meta(description="an object")] | None = None


class _GivenFields(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    image: str | tuple[str, ...] = ()


def parse_job(
    tree: dict[str, Any], config: MeshConfig, *, caller: str, key: str | None, now: float
) -> tuple[Job, list[Reference]]:
    """Return the job that a body asks for, and the pictures that it is drawn from, decoded; for worker threads.

    It has the fields of the Images API that are not about one answer, `prompts` in place of `prompt`, and `image`.

    Raises:
        ApiError: a field is unknown or impossible.
    """
    digest = blake2b(msgspec.json.encode(tree, order="sorted"), digest_size=16).hexdigest()
    fields = {name: value for name, value in tree.items() if name not in ("prompts", "prompt", "webhook", "image")}
    references = _references_in(tree.get("image"))
    kind = EditFields if references else ImageFields
    for name in ("stream", "partial_images", "response_format"):
        if name in fields:
            raise ApiError(400, f"{name}: expected it with the Images API only", code="invalid_value", param=name)
    asked = _own_fields(tree)
    pictures: list[JobPicture] = []
    images, order = 0, None  # the settings of the first prompt are those of all
    for index, wanted in enumerate(asked.prompts):
        try:
            if order is None:
                order = order_from(image_fields_of({**fields, "prompt": wanted.prompt}, kind), references, config)
            prompt = checked_prompt(wanted.prompt)
        except ApiError as error:
            raise ApiError(error.status, f"prompts[{index}]: {error}", code=error.code, param=error.param) from error
        seed = order.seed if wanted.seed is None else wanted.seed
        first = secrets.randbelow(MAX_SEED + 1) if seed is None else seed
        pictures += [
            JobPicture(index=index, sample=task.sample, prompt=prompt, seed=task.seed)
            for task in order.tasks("job", first)
        ]
        images += order.max_images
    if order is None or len(pictures) > MAX_PICTURES:
        got = f"{len(pictures)} of {len(asked.prompts)} prompts"
        raise _impossible("prompts", f"prompts: expected 1 to {MAX_PICTURES} pictures, got {got}")
    if images > config.gateway.max_job_images:
        raise _impossible("prompts", f"prompts: expected up to {config.gateway.max_job_images} images, got {images}")
    id_ = secrets.token_hex(12) if key is None else blake2b(f"{caller}\0{key}".encode(), digest_size=12).hexdigest()
    job = Job(
        id=f"job-{id_}",
        caller=caller,
        body_digest=digest,
        created_at=now,
        model=order.model,
        settings=order.settings,
        references=order.references,
        budget=order.budget,
        pictures=pictures,
        picture_format=order.picture_format,
        compression=order.compression,
        webhook=None if asked.webhook is None else _webhook_of(asked.webhook, config.gateway.webhook_hosts),
    )
    return job, references


def _references_in(image: Any) -> list[Reference]:
    if image is None:
        return []
    try:
        fields = msgspec.convert(Checker(Path(), ()).check({"image": image}, _GivenFields), _GivenFields)
    except ConfigError as error:
        raise field_error(str(error)) from error
    return references_in(files_in(fields.image))


def _own_fields(tree: dict[str, Any]) -> _JobFields:
    prompts = tree.get("prompts")
    if ("prompt" in tree) == (prompts is not None):
        raise _impossible("prompts", "prompts: expected either it or prompt")
    if prompts is None:
        prompts = [tree["prompt"]]
    if isinstance(prompts, list):
        prompts = [{"prompt": item} if isinstance(item, str) else item for item in prompts]
    own = {"prompts": prompts} | ({"webhook": tree["webhook"]} if tree.get("webhook") is not None else {})
    try:
        return msgspec.convert(Checker(Path(), ()).check(own, _JobFields), _JobFields)
    except ConfigError as error:
        raise field_error(str(error)) from error


def _webhook_of(fields: _WebhookFields, hosts: tuple[str, ...]) -> Webhook:
    """Return a webhook to one of the hosts that the operator allows: callers must not send the gateway anywhere."""
    try:
        address = urlsplit(fields.url)
        host = address.hostname or ""
    except ValueError:
        address, host = urlsplit(""), ""
    if address.scheme not in ("http", "https") or host not in hosts or address.username is not None:
        known = ", ".join(hosts) or "none: gateway.webhook_hosts is empty"
        raise _impossible("webhook.url", f"webhook.url: expected an address at one of these hosts ({known})")
    try:
        size = len(base64.b64decode(fields.secret.removeprefix("whsec_"), validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if not fields.secret.startswith("whsec_") or size < _MIN_SECRET_BYTES:
        raise _impossible("webhook.secret", "webhook.secret: expected whsec_ and at least 16 bytes in base64")
    return Webhook(url=fields.url, secret=fields.secret)


def _impossible(param: str, text: str) -> ApiError:
    return ApiError(400, text, code="invalid_value", param=param)
