"""The body of `POST /v1/images/edits`, a form with pictures, and the field `image` of bodies in JSON. Pure.

Source: platform.openai.com, createImageEdit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
from msgspec import Struct, structs

from gems_actors.app.references.drawing import sized_like
from gems_actors.app.references.pictures import MAX_FILE_BYTES, BadReferenceError, Reference, file_in, reference_in
from gems_actors.config import MeshConfig
from gems_actors.gateway.api_errors import ApiError
from gems_actors.gateway.edits.forms import FormPart
from gems_actors.gateway.image_request import ImageFields, Label, PictureOrder, image_fields_of, order_of
from protocol.limits import MAX_REFERENCES
from protocol.messages.values import Strength

_FILES: Final = re.compile(r"image(\[\d*\])?")
_IN_GEMS: Final = re.compile(r"gems\[([a-z_]+)\]")
_NO_TEXT: Final = frozenset((
    "n", "output_compression", "stream", "partial_images", "seed", "num_inference_steps", "guidance_scale", "strength",
    "rounds", "candidates", "images", "exact",
))  # fmt: skip
"""Fields whose values are numbers or flags, which a form has as text."""


class EditFields(ImageFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields of a form, without its files."""

    strength: Strength | None = None
    input_fidelity: Label | None = None
    """Accepted and without effect: the image model gets all of the pictures."""


class EditBody(Struct, frozen=True):
    """What names the pictures of a request that is repeated: its fields, and the digests of its files."""

    fields: EditFields
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Edit:
    """A request to draw from pictures."""

    fields: EditFields
    order: PictureOrder
    references: list[Reference]
    """The pictures themselves, until they are in the store."""

    @property
    def body(self) -> EditBody:
        """What names its pictures when it is repeated."""
        return EditBody(self.fields, tuple(image.digest for image in self.order.references))


def parse_edit(parts: Sequence[FormPart], config: MeshConfig) -> Edit:
    """Return what a form asks for, its pictures decoded; for worker threads.

    Raises:
        ApiError: a field is unknown or impossible, or a picture cannot be used.
    """
    files = [part for part in parts if _FILES.fullmatch(part.name)]
    others = [part for part in parts if not _FILES.fullmatch(part.name)]
    if any(part.name == "mask" for part in others):
        text = "mask: expected none, because masks are not supported; the prompt says what changes"
        raise ApiError(400, text, code="unsupported_parameter", param="mask")
    fields = image_fields_of(_tree_of(others), EditFields)
    if not all(part.is_file for part in files):
        raise _impossible("image: expected files, got a field with text")
    references = references_in([part.data for part in files])
    if not references:
        raise _impossible(f"image: expected 1 to {MAX_REFERENCES} files, got none")
    return Edit(fields, order_from(fields, references, config), references)


def order_from(fields: ImageFields, references: Sequence[Reference], config: MeshConfig) -> PictureOrder:
    """Return what a request asks for that may give pictures; the first one gives the proportions unless a size is set.

    Raises:
        ApiError: a field is impossible here.
    """
    order = order_of(fields, config)
    if not isinstance(fields, EditFields):
        return order
    settings = structs.replace(order.settings, strength=fields.strength)
    if fields.size in (None, "auto"):
        settings = sized_like(references[0], settings, max_side_px=config.gateway.max_side_px)
    return replace(order, settings=settings, references=tuple(one.ref for one in references))


def references_in(files: Sequence[bytes]) -> list[Reference]:
    """Return the pictures in files, decoded; for worker threads.

    Raises:
        ApiError: there are too many, or one of them cannot be used.
    """
    if len(files) > MAX_REFERENCES:
        raise _impossible(f"image: expected up to {MAX_REFERENCES} pictures, got {len(files)}")
    found = []
    for number, data in enumerate(files, 1):
        try:
            found.append(reference_in(data))
        except BadReferenceError as error:
            where = "image" if len(files) == 1 else f"image {number}"
            raise _impossible(f"{where}: {error}", 413 if len(data) > MAX_FILE_BYTES else 400) from error
    return found


def files_in(image: str | Sequence[str]) -> list[bytes]:
    """Return the files in a field of JSON, each as base64 or as a `data:` address with base64.

    Raises:
        ApiError: it is something else.
    """
    try:
        return [file_in(text) for text in ([image] if isinstance(image, str) else image)]
    except BadReferenceError as error:
        raise _impossible(f"image: {error}") from error


def _tree_of(parts: Sequence[FormPart]) -> dict[str, Any]:
    """Return the fields of a form as those of a body in JSON; `gems` is JSON, or has a field for each of its keys."""
    tree: dict[str, Any] = {}
    for part in parts:
        if part.is_file:
            raise _impossible(f"{part.name[:80]}: expected text, got a file", param=part.name[:80])
        try:
            text = part.data.decode()
        except UnicodeDecodeError as error:
            raise _impossible(f"{part.name[:80]}: expected UTF-8, got other bytes", param=part.name[:80]) from error
        inner = _IN_GEMS.fullmatch(part.name)
        name, target = (inner[1], tree.setdefault("gems", {})) if inner else (part.name, tree)
        if not isinstance(target, dict) or name in target:
            raise _impossible(f"{part.name[:80]}: expected it once, got it again", param=part.name[:80])
        target[name] = _value_of(text) if name in _NO_TEXT or name == "gems" else text
    return tree


def _value_of(text: str) -> Any:
    """Return what a text says in JSON; a text that is no JSON stays, and is refused by the type of its field."""
    try:
        return msgspec.json.decode(text.lower() if text in ("True", "False") else text)
    except (msgspec.DecodeError, RecursionError):
        return text


def _impossible(text: str, status: int = 400, param: str = "image") -> ApiError:
    return ApiError(status, text, code="too_large" if status == 413 else "invalid_value", param=param)
