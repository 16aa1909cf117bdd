"""The files of pictures with their metadata, and the description of a draw as JSON or as a few lines."""

from __future__ import annotations

import errno
import io
import os
import re
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from gems_actors import __version__
from gems_actors.app.draw_progress import count_met, unchecked_line, unmet_questions
from gems_actors.errors import GemsError
from gems_actors.files import os_reason
from gems_actors.terminal_text import escaped_json, printable
from protocol.costs import chat_cost
from protocol.messages import Picture, Spent

if TYPE_CHECKING:
    from PIL import Image

    from gems_actors.backends.pictures import DecodedPicture

DISK_FAULTS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})
"""Errors of a disk that is full or fails."""
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IHDR_END = len(_PNG_SIGNATURE) + 8 + 13 + 4

PictureFormat = Literal["png", "jpeg", "webp"]
ENDINGS: Final[dict[PictureFormat, str]] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
_QUALITY: Final = 95
_THUMBNAIL_QUALITY: Final = 80
_EXIF: Final = struct.Struct(">2sHIHHHIIIHHHIII")
"""A big-endian TIFF header, a directory with one entry, and EXIF's directory with one entry."""
_EXIF_IFD, _USER_COMMENT, _LONG, _UNDEFINED = 0x8769, 0x9286, 4, 7
_MAX_EXIF_TEXT_BYTES: Final = 65_400
"""Longest text of EXIF: a segment of JPEG holds up to 65,533 bytes, with what comes before the text."""
BLIND_VERIFIER: Final = (
    "blind verifier: it gives the same answer about a red and a blue picture, so its verdicts mean nothing; "
    "check its model with gems doctor"
)


class OutputError(GemsError):
    """A file cannot be written or read."""

    @property
    def is_of_disk(self) -> bool:
        """Whether its disk is full or fails, so that the same command may continue once it is mended."""
        cause = self.__cause__
        return isinstance(cause, OSError) and cause.errno in DISK_FAULTS


class PictureError(OutputError):
    """An image of a model cannot be decoded, and so not be written in another format."""


def story_of(picture: Picture, *, seed: int, model: str) -> dict[str, Any]:
    """Return everything about a picture as a tree for JSON.

    The tree has no path, time or id: it is also written into the picture, and the same seed and settings must give the
    same file.
    """
    best = picture.best
    answers = {verdict.requirement: verdict.answer for verdict in best.verdicts}
    return {
        "prompt": picture.prompt,
        "final_prompt": picture.final_prompt,
        "digest": best.image.digest,
        "seed": seed,
        "attempt_seed": best.seed,
        "model": model,
        "skill": picture.skill,
        "settings": msgspec.to_builtins(picture.settings),
        **({"references": [image.digest for image in best.references]} if best.references else {}),
        "requirements": [
            {
                "id": requirement.id,
                "question": requirement.question,
                "kind": requirement.kind,
                "depends_on": requirement.depends_on,
                "answer": answers.get(requirement.id),
                "answers": [
                    {"round": attempt.round, "candidate": attempt.candidate, "answer": verdict.answer}
                    for attempt in picture.attempts
                    for verdict in attempt.verdicts
                    if verdict.requirement == requirement.id
                ],
            }
            for requirement in picture.requirements
        ],
        "met": count_met(best),
        "all_met": picture.all_met,
        "not_understood": list(picture.not_understood),
        "judged_blind": picture.is_judged_blind,
        "rounds": rounds_of(picture),
        "images": len(picture.attempts),
        "round": best.round,
        "candidate": best.candidate,
        "outcome": picture.ending.outcome,
        "failure": reason_of(picture),
        "decided_by": picture.ending.decided_by,
        "verify_calls": sum(attempt.verifying.calls for attempt in picture.attempts),
        "verify_calls_saved": sum(attempt.verify_calls_saved for attempt in picture.attempts),
        "version": __version__,
    }


def texts_of(picture: Picture, *, seed: int, model: str) -> dict[str, str]:
    """Return the texts that a picture's file contains, by key."""
    story = story_of(picture, seed=seed, model=model)
    return {"parameters": parameters_of(picture, model), "gems": encode_json(story)}


def reason_of(picture: Picture) -> str | None:
    """Return the failure that ended the draw with the best attempt so far; None if it ended otherwise."""
    failure = picture.ending.failure
    return None if failure is None else f"{failure.code}: {printable(failure.message)}"


def rounds_of(picture: Picture) -> int:
    """Return the number of rounds drawn."""
    return max(attempt.round for attempt in picture.attempts)


def parameters_of(picture: Picture, model: str) -> str:
    """Return the text that image tools read as `parameters`, with prompt and seed of the chosen attempt.

    Readers look for `Steps:` at the start of a line, and some for a sampler and for three known names, so these are
    always there; `default` is what the image model chose by itself.
    """
    best = picture.best
    verdicts = f"{count_met(best)}/{len(best.verdicts)} met" if best.verdicts else "nothing to check"
    if unchecked := len(picture.not_understood):
        verdicts += f" and {unchecked} not understood"
    settings = picture.settings
    negative = f"\nNegative prompt: {_without_marks(settings.negative_prompt)}" if settings.negative_prompt else ""
    values = {
        "Steps": settings.steps or "default",
        "Sampler": "default",
        "CFG scale": settings.guidance,
        "Denoising strength": settings.strength if best.references else None,
        "Seed": best.seed,
        "Size": f"{best.image.width_px}x{best.image.height_px}",
        "Model": " ".join(model.replace(",", " ").split()),
        "Rounds": rounds_of(picture),
        "GEMS": verdicts,
    }
    return f"{_without_marks(picture.final_prompt)}{negative}\n" + ", ".join(
        f"{name}: {value}" for name, value in values.items() if value is not None
    )


def picture_of(
    data: bytes, media_type: str, picture_format: PictureFormat, texts: dict[str, str], *, quality: int | None = None
) -> bytes:
    """Return a picture in a format, once it is decoded whole; one that has it already keeps every byte of its pixels.

    What the image server wrote about it is dropped: texts, comments, EXIF, XMP and IPTC. Transparency is kept in PNG
    and WebP; JPEG shows it as white. PNG files contain all texts, other files `parameters` in EXIF's UserComment, where
    image tools look for it. What is encoded here has quality 95; with another one, JPEG and WebP are always encoded.

    Raises:
        PictureError: the data cannot be decoded.
    """
    from gems_actors.backends.pictures import decode_picture  # loads Pillow, once there is a picture

    try:
        decoded = decode_picture(data)
    except ValueError as error:
        raise PictureError(f"{media_type}: {error}") from error
    return file_of(decoded, data, picture_format, texts, quality=quality)


def file_of(
    decoded: DecodedPicture,
    data: bytes,
    picture_format: PictureFormat,
    texts: dict[str, str],
    *,
    quality: int | None = None,
) -> bytes:
    """Return a picture that was decoded from `data` in a format, as `picture_of` does."""
    from gems_actors.app.foreign_metadata import png_without_metadata
    from gems_actors.backends.pictures import png_of

    is_kept = decoded.is_plain and decoded.media_type == f"image/{picture_format}"
    if picture_format == "png":
        data = png_without_metadata(data) if is_kept else png_of(decoded.image)
        chunks = b"".join(_text_chunk(key, text) for key, text in texts.items())
        return data[:_IHDR_END] + chunks + data[_IHDR_END:]
    exif = _exif_of(texts.get("parameters", ""))
    if is_kept and quality is None:
        with suppress(ValueError):  # its parts are not where the standard says: only encoding it again makes it ours
            return _jpeg_with(data, exif) if picture_format == "jpeg" else _webp_with(data, exif, decoded.image.size)
    return _encoded(decoded.image, picture_format, exif, _QUALITY if quality is None else quality)


def format_of(media_type: str) -> PictureFormat:
    """Return the format of a picture's media type."""
    return next(name for name in ENDINGS if media_type == f"image/{name}")


def thumbnail_of(data: bytes, side_px: int) -> bytes:
    """Return a WebP file of a picture for a space of `side_px`, with twice as many pixels: sharp on dense screens too.

    Raises:
        PictureError: the data cannot be decoded.
    """
    from gems_actors.backends.pictures import decode_picture  # loads Pillow, once there is a picture

    try:
        thumbnail = decode_picture(data).image.convert("RGB")
    except ValueError as error:
        raise PictureError(str(error)) from error
    thumbnail.thumbnail((2 * side_px, 2 * side_px), reducing_gap=2.0)
    file = io.BytesIO()
    thumbnail.save(file, "WEBP", quality=_THUMBNAIL_QUALITY, method=2)
    return file.getvalue()


def check_writable(folder: Path) -> None:
    """Create a folder if needed and check that a file can be written into it.

    Raises:
        OutputError: no file can be written into it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"{folder}: expected a folder to write into, got: {os_reason(error)}") from error


class PartFile:
    """A file that is written, and takes its place once it is durable.

    A process that is killed meanwhile leaves a part next to the file. With `is_only_writer`, which is for folders that
    are locked, the next one for the same file replaces that part.
    """

    def __init__(self, path: Path, data: bytes, *, is_only_writer: bool = False) -> None:
        """Write the data.

        Raises:
            OutputError: the file cannot be written.
        """
        self._path, self._size_bytes = path, len(data)
        self._part = path.with_name(f".{path.name[:200]}.{'part' if is_only_writer else os.urandom(4).hex()}")
        with self._removed_on_failure():
            self._file = self._part.open("wb" if is_only_writer else "xb")
            try:
                self._file.write(data)
                self._file.flush()
            except OSError:
                self._close()
                raise

    def finish(self) -> None:
        """Put the file in its place: after a power cut it is complete or not there.

        Raises:
            OutputError: the file cannot be written.
        """
        with self._removed_on_failure():
            try:
                os.fsync(self._file.fileno())
            finally:
                self._close()
            self._part.replace(self._path)

    def _close(self) -> None:
        with suppress(OSError):  # what could not be written is reported already
            self._file.close()

    @contextmanager
    def _removed_on_failure(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with suppress(OSError):
                self._part.unlink(missing_ok=True)
            hint = "; its folder may have been removed" if error.errno == errno.ENOENT else ""
            raise OutputError(
                f"{self._path}: expected to write {self._size_bytes} bytes, got: {os_reason(error)}{hint}"
            ) from error


def write_whole(path: Path, data: bytes, *, is_only_writer: bool = False) -> None:
    """Write a file atomically and durably, as `PartFile` does.

    Raises:
        OutputError: the file cannot be written.
    """
    PartFile(path, data, is_only_writer=is_only_writer).finish()


def encode_json(tree: Any) -> str:
    """Return one line of JSON; control characters are escaped, also those that JSON allows as they are."""
    return escaped_json(msgspec.json.encode(tree).decode())


def text_of_path(path: Path) -> str:
    """Return a path as text, with U+FFFD for bytes that are not UTF-8."""
    return os.fsencode(path).decode(errors="replace")


def summary_lines(picture: Picture, *, seed: int, seconds: float) -> Iterator[str]:
    """Yield the outcome of a draw as a few lines, the most important first."""
    best, rounds, images = picture.best, rounds_of(picture), len(picture.attempts)
    total = len(best.verdicts)
    counts = f"{_count(rounds, 'round')}, {_count(images, 'image')}, seed {seed}, {seconds:.1f} s"
    yield f"{count_met(best)} of {total} met, {counts}" if total else f"nothing to check, {counts}"
    chosen = f"round {best.round}" + (f", candidate {best.candidate}" if picture.settings.candidates > 1 else "")
    yield f"chosen: {chosen} ({printable(picture.ending.decided_by)})"
    if picture.is_judged_blind:
        yield BLIND_VERIFIER
    if unchecked := unchecked_line(picture.not_understood, total):
        yield unchecked
    unmet = unmet_questions(picture.requirements, best)
    if unmet:
        yield f"not met: {'; '.join(unmet)}"
    stopped = f"stopped after round {rounds} of {picture.settings.max_rounds}"
    if picture.ending.outcome == "budget_spent":
        yield f"{stopped}: the budget does not cover another round"
    if picture.ending.outcome == "refiner_stopped":
        yield f"{stopped}: the refiner expects nothing of another prompt"
    if (reason := reason_of(picture)) is not None:
        yield f"{stopped}: {reason}"
    if tokens := format_cost(chat_cost(picture.spent)):
        yield f"cost: {tokens}"
    if picture.ending.outcome == "wound_down":
        yield f"{stopped}; {_count(len(unmet), 'requirement')} unmet"


def format_cost(spent: Spent) -> str:
    """Return calls, tokens and price of chat models; an empty text if the models report no tokens."""
    if not spent.tokens:
        return ""
    cached = f" ({spent.cached_tokens:,} cached)" if spent.cached_tokens else ""
    text = f"{spent.calls:,} calls, {spent.prompt_tokens:,}{cached} + {spent.completion_tokens:,} tokens"
    return f"{text}, {spent.cost:,.4f}" if spent.cost else text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _text_chunk(key: str, text: str) -> bytes:
    """Return a tEXt chunk for Latin-1 text, which every reader supports, and an iTXt chunk in UTF-8 for other text."""
    try:
        kind, body = b"tEXt", key.encode() + b"\0" + text.encode("latin-1")
    except UnicodeEncodeError:
        kind, body = b"iTXt", key.encode() + b"\0\0\0\0\0" + text.encode()
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _without_marks(text: str) -> str:
    """Return a prompt without the words by which readers of `parameters` find what follows the prompt."""
    return re.sub(r"\n\s*(?=Steps:)", " ", text).replace("Negative prompt:", "Negative prompt -")


def _exif_of(text: str) -> bytes:
    """Return EXIF with a text as its UserComment, or nothing if it is empty or longer than a JPEG can hold.

    Written by hand, because Pillow writes the comment as bytes, where the standard and readers expect the type
    UNDEFINED. Source: CIPA DC-008, UserComment, whose `UNICODE` is UTF-16 in the byte order of the header.
    """
    comment = b"UNICODE\0" + text.encode("utf-16-be")
    if not text or len(comment) > _MAX_EXIF_TEXT_BYTES:
        return b""
    entry_at, comment_at = 26, _EXIF.size
    tiff = _EXIF.pack(
        *(b"MM", 42, 8),
        *(1, _EXIF_IFD, _LONG, 1, entry_at, 0),
        *(1, _USER_COMMENT, _UNDEFINED, len(comment), comment_at, 0),
    )
    return tiff + comment


def _jpeg_with(data: bytes, exif: bytes) -> bytes:
    """Return a JPEG file with our EXIF, where it is not empty, as its first segment after JFIF's own, and no other.

    Raises:
        ValueError: as `jpeg_without_metadata`.
    """
    from gems_actors.app.foreign_metadata import jpeg_without_metadata

    data = jpeg_without_metadata(data)
    if not exif:
        return data
    start = 4 + int.from_bytes(data[4:6], "big") if data[2:4] == b"\xff\xe0" else 2
    body = b"Exif\0\0" + exif
    return data[:start] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[start:]


def _webp_with(data: bytes, exif: bytes, size_px: tuple[int, int]) -> bytes:
    """Return a WebP file with our EXIF, where it is not empty, and no other; its pixels keep their bytes.

    Raises:
        ValueError: as `webp_chunks`.
    """
    from gems_actors.app.foreign_metadata import webp_chunks, webp_of

    chunks = webp_chunks(data)
    if exif:
        has_exif = 0x08
        flags = chunks.pop(b"VP8X", b"\0")[0] | has_exif
        header = bytes([flags, 0, 0, 0]) + b"".join((side - 1).to_bytes(3, "little") for side in size_px)
        chunks = {b"VP8X": header} | chunks | {b"EXIF": exif}
    return webp_of(chunks)


def _encoded(image: Image.Image, picture_format: PictureFormat, exif: bytes, quality: int) -> bytes:
    from gems_actors.backends.pictures import over_white

    shown = image if picture_format == "webp" and image.mode == "RGBA" else over_white(image)
    options: dict[str, Any] = {"exact": True} if shown.mode == "RGBA" else {}  # else the invisible becomes black
    if exif:
        options["exif"] = b"Exif\0\0" + exif
    if profile := shown.info.get("icc_profile"):
        options["icc_profile"] = profile
    buffer = io.BytesIO()
    shown.save(buffer, picture_format.upper(), quality=quality, **options)
    return buffer.getvalue()
