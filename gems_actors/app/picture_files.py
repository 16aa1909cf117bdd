"""The files of pictures with their metadata, and the description of a draw as JSON or as a few lines."""

from __future__ import annotations

import io
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from gems_actors import __version__
from gems_actors.app.draw_progress import count_met, printable, unmet_questions
from gems_actors.errors import GemsError
from protocol.costs import chat_cost
from protocol.messages import Picture, Spent

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IHDR_END = len(_PNG_SIGNATURE) + 8 + 13 + 4

PictureFormat = Literal["png", "jpeg", "webp"]
ENDINGS: Final[dict[PictureFormat, str]] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
_QUALITY: Final = 95
_EXIF_IFD, _USER_COMMENT = 0x8769, 0x9286
_MAX_EXIF_TEXT_BYTES: Final = 60_000
"""A segment of JPEG holds up to 64 KiB."""


class OutputError(GemsError):
    """A file cannot be written or read."""


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
        "final_prompt": best.prompt,
        "digest": best.image.digest,
        "seed": seed,
        "attempt_seed": best.seed,
        "model": model,
        "skill": picture.skill,
        "settings": msgspec.to_builtins(picture.settings),
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
    """Return the text that image tools read as `parameters`, with prompt and seed of the chosen attempt."""
    best = picture.best
    verdicts = f"{count_met(best)}/{len(best.verdicts)} met" if best.verdicts else "nothing to check"
    settings = picture.settings
    negative = f"\nNegative prompt: {settings.negative_prompt}" if settings.negative_prompt else ""
    values = {
        "Steps": settings.steps,
        "CFG scale": settings.guidance,
        "Seed": best.seed,
        "Size": f"{best.image.width_px}x{best.image.height_px}",
        "Model": model,
        "Rounds": rounds_of(picture),
        "GEMS": verdicts,
    }
    return f"{best.prompt}{negative}\n" + ", ".join(
        f"{name}: {value}" for name, value in values.items() if value is not None
    )


def picture_of(data: bytes, media_type: str, picture_format: PictureFormat, texts: dict[str, str]) -> bytes:
    """Return a picture in a format; a picture that has it already keeps every byte of its pixels.

    PNG files contain all texts. Other files that are encoded here, with quality 95, contain `parameters` in EXIF's
    UserComment, where image tools look for it.

    Raises:
        PictureError: the data cannot be decoded.
    """
    if picture_format == "png":
        if media_type != "image/png" or not data.startswith(_PNG_SIGNATURE):
            data = _converted(data, media_type)
        chunks = b"".join(_text_chunk(key, text) for key, text in texts.items())
        return data[:_IHDR_END] + chunks + data[_IHDR_END:]
    if media_type == f"image/{picture_format}":
        return data
    return _converted(data, media_type, picture_format, texts.get("parameters", ""))


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
        raise OutputError(f"{folder}: expected a folder to write into, got: {error.strerror}") from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically and durably: after a power cut it is complete or not there.

    Raises:
        OutputError: the file cannot be written.
    """
    part = path.with_name(f".{path.name[:200]}.{os.urandom(4).hex()}")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(f"{path}: expected to write {len(data)} bytes, got: {error.strerror}") from error


def encode_json(tree: Any) -> str:
    """Return one line of JSON."""
    return msgspec.json.encode(tree).decode()


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
    unmet = unmet_questions(picture.requirements, best)
    if unmet:
        yield f"not met: {'; '.join(unmet)}"
    stopped = f"stopped after round {rounds} of {picture.settings.max_rounds}"
    if picture.ending.outcome == "budget_spent":
        yield f"{stopped}: the budget does not cover another round"
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


def _converted(data: bytes, media_type: str, picture_format: PictureFormat = "png", comment: str = "") -> bytes:
    from PIL import Image  # only needed if the backend draws in another format

    buffer = io.BytesIO()
    try:
        with Image.open(io.BytesIO(data)) as image:
            if picture_format == "png":
                image.save(buffer, "PNG")
            else:
                exif, text = Image.Exif(), comment.encode("utf-16-be")
                if 0 < len(text) <= _MAX_EXIF_TEXT_BYTES:
                    exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = b"UNICODE\0" + text
                image.convert("RGB").save(buffer, picture_format.upper(), quality=_QUALITY, exif=exif)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # SyntaxError: a bad PNG chunk
        got = " ".join(str(error).split())[:200]
        raise PictureError(f"expected a complete picture of type {media_type}, got {len(data)} bytes: {got}") from error
    return buffer.getvalue()
