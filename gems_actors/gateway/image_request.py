"""The body of `POST /v1/images/generations`: its fields, their checks, and the pictures that it asks for. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from gems_actors.app.options import DrawOptions, budget_of, draw_settings, parse_size
from gems_actors.app.picture_files import PictureFormat
from gems_actors.app.prompts import PromptError, check_prompt, check_text
from gems_actors.config import MeshConfig
from gems_actors.config.checks import Checker, shown
from gems_actors.config.presets import PRESETS, with_preset
from gems_actors.errors import ConfigError, UsageError
from gems_actors.gateway.api_errors import ApiError
from gems_actors.gateway.catalogue import Model, model_of
from protocol.limits import MAX_CANDIDATES, MAX_GUIDANCE, MAX_PROMPT_CHARS
from protocol.messages import Budget, DrawPicture, DrawSettings, ImageRef, MemoryMode
from protocol.messages.values import Candidate, Round, Seed, SkillId, Steps

FieldsT = TypeVar("FieldsT")

Label = Annotated[str, Meta(max_length=512, description="text of up to 512 characters")]


class GemsFields(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The field `gems`, which OpenAI's API does not have: how the loop spends its images."""

    rounds: Round | None = None
    candidates: Candidate | None = None
    images: Annotated[int, Meta(ge=1, le=MAX_CANDIDATES)] | None = None
    """Images that a picture may cost."""
    memory: MemoryMode | None = None
    skill: SkillId | None = None
    exact: bool = False
    preset: str | None = None
    """A named set of settings of the loop, over which the other fields have precedence."""


class ImageFields(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body: the fields of OpenAI's API, those that other image servers added, and `gems`."""

    prompt: str
    model: str | None = None
    n: Annotated[int, Meta(ge=1, le=10)] = 1
    size: str | None = None
    response_format: Literal["b64_json", "url"] = "b64_json"
    output_format: Literal["png", "jpeg", "webp"] = "png"
    output_compression: Annotated[int, Meta(ge=0, le=100)] | None = None
    user: Label | None = None
    safety_identifier: Label | None = None
    background: Literal["auto", "opaque"] = "auto"
    quality: Label | None = None
    """Accepted and without effect, as are `style` and `moderation`: the loop draws as well as it can."""
    style: Label | None = None
    moderation: Label | None = None
    stream: bool = False
    partial_images: Annotated[int, Meta(ge=0, le=3)] | None = None
    """Rounds that a stream shows; by default all."""

    seed: Seed | None = None
    negative_prompt: Annotated[str, Meta(max_length=MAX_PROMPT_CHARS)] | None = None
    num_inference_steps: Steps | None = None
    guidance_scale: Annotated[float, Meta(ge=0.0, le=MAX_GUIDANCE)] | None = None
    gems: Annotated[GemsFields, Meta(description="an object")] = GemsFields()


ImageFieldsT = TypeVar("ImageFieldsT", bound=ImageFields)


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureOrder:
    """Pictures of one prompt that a client asks for, and how it wants them."""

    prompt: str
    model: str
    """Id in the catalogue."""
    settings: DrawSettings
    seed: int | None
    count: int
    budget: Budget
    picture_format: PictureFormat = "png"
    compression: int | None = None
    """Quality of JPEG and WebP from 0 to 100; by default that of `gems draw`."""
    wants_urls: bool = False
    partial_images: int | None = None
    references: tuple[ImageRef, ...] = ()
    """Pictures that they are drawn from."""

    @property
    def max_images(self) -> int:
        """Images that are drawn at most."""
        return self.count * self.settings.max_rounds * self.settings.candidates

    def tasks(self, run: str, seed: int, version: str = "") -> tuple[DrawPicture, ...]:
        """Return the requests of one run; the first picture has the seed itself."""
        return tuple(
            DrawPicture(
                run=run,
                sample=sample,
                prompt=self.prompt,
                seed=_sample_seed(seed, sample),
                references=self.references,
                settings=self.settings,
                version=version,
                budget=self.budget,
            )
            for sample in range(self.count)
        )


def parse_image_fields(body: bytes) -> ImageFields:
    """Return the fields of a body; those that are null count as absent.

    Raises:
        ApiError: it is not JSON, or a field is unknown or impossible.
    """
    return image_fields_of(parse_json(body), ImageFields)


def image_fields_of(tree: dict[str, Any], kind: type[ImageFieldsT]) -> ImageFieldsT:
    """Return the fields of a body that is parsed already.

    Raises:
        ApiError: a field is unknown or impossible.
    """
    tree = _without_nulls(tree)
    try:
        return msgspec.convert(tree, kind)
    except msgspec.ValidationError:  # a check of each field explains it, which costs a hundred times more
        try:
            return msgspec.convert(Checker(Path(), ()).check(tree, kind), kind)
        except ConfigError as error:
            raise field_error(str(error)) from error


def parse_json(body: bytes) -> dict[str, Any]:
    """Return the object that a body holds.

    Raises:
        ApiError: it holds none.
    """
    try:
        tree = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"body: expected JSON, got: {error}", code="invalid_json") from error
    except RecursionError:
        raise ApiError(400, "body: expected JSON, got one that is nested too deep", code="invalid_json") from None
    if not isinstance(tree, dict):
        raise ApiError(400, f"body: expected an object, got {shown(tree)}", code="invalid_json")
    return tree


def parse_fields(body: bytes, kind: type[FieldsT]) -> FieldsT:
    """Return the fields of a body whose type forbids others.

    Raises:
        ApiError: it is not JSON, or a field is missing, unknown or impossible.
    """
    try:
        return msgspec.convert(Checker(Path(), ()).check(parse_json(body), kind), kind)
    except (ConfigError, msgspec.ValidationError) as error:
        raise field_error(str(error)) from error


def order_of(fields: ImageFields, config: MeshConfig) -> PictureOrder:
    """Return what a request asks for, within the limits of the gateway.

    Raises:
        ApiError: a field is impossible here.
    """
    id_, model = model_of(fields.model, config)
    config = _with_preset(fields.gems.preset, id_, model, config)
    prompt = checked_prompt(fields.prompt)
    try:
        check_text(fields.negative_prompt or "")
    except PromptError as error:
        raise _impossible("negative_prompt", f"negative_prompt: {error}") from error
    settings = _settings_of(fields, model.strategy, config)
    order = PictureOrder(
        prompt=prompt,
        model=id_,
        settings=settings,
        seed=fields.seed,
        count=fields.n,
        budget=budget_of(config),
        picture_format=fields.output_format,
        compression=fields.output_compression,
        wants_urls=fields.response_format == "url",
        partial_images=fields.partial_images,
    )
    if fields.stream and (order.count > 1 or order.wants_urls):
        field, value = ("n", order.count) if order.count > 1 else ("response_format", "url")
        raise _impossible(field, f"{field}: expected one picture in base64 with stream, got {value}")
    limits = config.gateway
    if max(settings.width_px, settings.height_px) > limits.max_side_px:
        got = f"{settings.width_px}x{settings.height_px}"
        raise _impossible("size", f"size: expected sides of up to {limits.max_side_px} pixels, got {got}")
    if order.count > limits.max_draws or order.max_images > limits.max_images:
        what = f"{order.count} pictures of up to {order.max_images // order.count} images"
        raise _impossible("n", f"n: expected up to {limits.max_images} images in all, got {what}")
    return order


def checked_prompt(text: str) -> str:
    """Return a prompt without surrounding white space.

    Raises:
        ApiError: it cannot be drawn.
    """
    try:
        return check_prompt(text)
    except PromptError as error:
        raise _impossible("prompt", f"prompt: {error}") from error


def field_error(text: str) -> ApiError:
    """Return the answer to a field that is wrong, from the text of its check: `size: expected ..., got ...`."""
    text = text.replace("--", "")
    named = re.match(r"[a-z_.]+(?=: )", text)
    return _impossible(named[0] if named else None, text)


def _with_preset(preset: str | None, id_: str, model: Model, config: MeshConfig) -> MeshConfig:
    """Return the settings with those of the preset that a request names, itself or by its model."""
    expected = None
    if preset is not None and preset not in PRESETS:
        expected = f"one of {', '.join(PRESETS)}"
    elif preset is not None and model.preset not in (None, preset):
        expected = f"{model.preset} or none with {id_}"
    if preset is not None and expected is not None:
        raise _impossible("gems.preset", f"gems.preset: expected {expected}, got {preset[:200]!r}")
    chosen = preset or model.preset
    return config if chosen is None else with_preset(config, chosen)


def _settings_of(fields: ImageFields, strategy: str, config: MeshConfig) -> DrawSettings:
    gems, draw = fields.gems, config.draw
    images, candidates = gems.images, gems.candidates
    if strategy == "best-of-n" and images is None:
        images = draw.max_rounds * draw.candidates  # what the whole loop may spend
    if strategy == "gems" and images is not None and candidates is None:
        candidates = draw.candidates  # of which each round draws as many
    try:
        options = DrawOptions(
            strategy=strategy,
            images=images,
            rounds=gems.rounds,
            candidates=candidates,
            memory=gems.memory,
            skill=gems.skill,
            exact=gems.exact,
            size=None if fields.size in (None, "auto") else _size_of(fields.size),
            steps=fields.num_inference_steps,
            guidance=fields.guidance_scale,
            negative_prompt=fields.negative_prompt,
        )
        return draw_settings(config, options.settings())
    except UsageError as error:
        raise field_error(str(error)) from error


def _size_of(text: str) -> tuple[int, int]:
    try:
        return parse_size(text)
    except UsageError as error:
        raise UsageError(f"size: {error}") from error


def _impossible(param: str | None, text: str) -> ApiError:
    return ApiError(400, text, code="invalid_value", param=param)


def _sample_seed(seed: int, sample: int) -> int:
    if sample == 0:
        return seed
    return int.from_bytes(blake2b(f"{seed}\0sample\0{sample}".encode(), digest_size=4).digest(), "big")


def _without_nulls(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _without_nulls(value) for name, value in tree.items() if value is not None}
    return tree
