"""Turn one record of an input file into a task: which of its fields draw, and which are kept as metadata.

Drawing fields of a record take precedence over the options of the bulk. All others may be anything that JSON can say.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, get_type_hints

import msgspec
from msgspec import Meta

from gems_actors.app.bulk.tasks import MAX_SAMPLES, Source, Task
from gems_actors.app.options import parse_size
from gems_actors.app.prompts import PromptError, check_prompt, check_text, lone_surrogate
from gems_actors.config.checks import describe, shown
from gems_actors.errors import UsageError
from protocol.limits import MAX_REFERENCES
from protocol.messages import Candidate, Guidance, MemoryMode, Prompt, Round, Seed, SkillId, Steps
from protocol.messages.values import Strength

PROMPT_COLUMN: Final = "prompt"
IMAGE_COLUMN: Final = "image"
MAX_RECORD_BYTES: Final = 1024 * 1024
"""Limit for one record, which may have more fields than its prompt."""
_MAX_DEPTH: Final = 500
"""Lists and objects inside one another; Python's own limit depends on who calls."""
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str)

Samples = Annotated[int, Meta(ge=1, le=MAX_SAMPLES)]


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """How records become tasks."""

    samples: int = 1
    """Pictures of a record without its own number."""
    prompt_column: str = PROMPT_COLUMN
    """The field that is the prompt."""
    id_column: str | None = None
    """The field whose value is the id of a record, which every record must have."""
    image_column: str | None = None
    """The field with the pictures that a record is drawn from; None: it is metadata as others are."""


class _Fields(msgspec.Struct):
    """Drawing fields of a record; text, as in a CSV file, is converted to numbers."""

    seed: Seed | None = None
    samples: Samples | None = None
    rounds: Round | None = None
    candidates: Candidate | None = None
    memory: MemoryMode | None = None
    skill: SkillId | None = None
    size: str | None = None
    steps: Steps | None = None
    guidance: Guidance | None = None
    negative_prompt: Prompt | None = None
    strength: Strength | None = None


_NAMES: Final = frozenset(_Fields.__struct_fields__) - {"strength"}
_KINDS: Final = get_type_hints(_Fields, include_extras=True)
_NO_FIELDS: Final = _Fields()


def task_of(index: int, record: Mapping[str, Any], options: RecordOptions) -> Task:
    """Return the task of a record; fields that are null are ignored, and so are drawing fields that are NaN.

    Raises:
        PromptError: the record cannot be drawn.
    """
    record = {key: value for key, value in record.items() if value is not None}
    if not isinstance(text := record.get(options.prompt_column), str):
        where = "" if options.prompt_column == PROMPT_COLUMN else f"{options.prompt_column}: "
        raise PromptError(f"{where}expected a prompt as text, got {'none' if text is None else type(text).__name__}")
    prompt = check_prompt(text)
    others = dict(record)
    del others[options.prompt_column]
    references: tuple[Source, ...] = ()
    if options.image_column is not None and (given := others.pop(options.image_column, None)) is not None:
        references = _sources_of(given, options.image_column, index)
        found = [source.name for source in references]  # without bytes
        record[options.image_column] = found if isinstance(given, list) else found[0]
    names = _NAMES | {"strength"} if references else _NAMES  # else it is a field as any other
    drawing = {name: others.pop(name) for name in names & others.keys()}
    drawing = {name: value for name, value in drawing.items() if value == value}  # without NaN
    try:
        fields = msgspec.convert(drawing, type=_Fields, strict=False) if drawing else _NO_FIELDS
    except UnicodeEncodeError:  # not a ValidationError of msgspec
        check_record(drawing)
        raise
    except msgspec.ValidationError as error:
        name = str(error).partition(" - at `$.")[2].rstrip("`")
        expected = describe(_KINDS[name], _number_in(drawing[name]))
        raise PromptError(f"{name}: expected {expected}, got {shown(drawing[name])}") from error
    settings = _settings_of(fields) if drawing else {}
    samples = fields.samples or options.samples
    return Task(index, prompt, fields.seed, samples, settings, others, record, references=references)


def _sources_of(given: Any, column: str, index: int) -> tuple[Source, ...]:
    """Return the pictures in a field: a path or Parquet's bytes, or a list of them."""
    several = given if isinstance(given, list) else [given]
    if len(several) > MAX_REFERENCES:
        raise PromptError(f"{column}: expected up to {MAX_REFERENCES} pictures, got {len(several)}")
    return tuple(_source_of(one, column, f"row {index + 1}") for one in several)


def _source_of(given: Any, column: str, where: str) -> Source:
    match given:
        case str() if given:
            return Source(column, _checked_path(given, column))
        case bytes():
            return Source(column, where, given)
        case {"bytes": bytes() as data, **others}:
            name = others.get("path")
            return Source(column, name if isinstance(name, str) and name else where, data)
        case {"path": str() as path} if path:
            return Source(column, _checked_path(path, column))
    got = shown({name: value for name, value in given.items() if name != "bytes"} if isinstance(given, dict) else given)
    raise PromptError(f"{column}: expected the path of a picture, or a list of paths, got {got}")


def _checked_path(path: str, column: str) -> str:
    if "://" in path or path.startswith("data:"):
        raise PromptError(f"{column}: expected the path of a file, got {shown(path)}; download it first")
    return path


def _settings_of(fields: _Fields) -> dict[str, Any]:
    """Return the drawing fields of a record by the names of `DrawSettings`."""
    settings = {
        name: value
        for name in ("candidates", "memory", "skill", "steps", "guidance", "negative_prompt", "strength")
        if (value := getattr(fields, name)) is not None
    }
    if fields.rounds is not None:
        settings["max_rounds"] = fields.rounds
    if fields.size is not None:
        try:
            settings["width_px"], settings["height_px"] = parse_size(fields.size)
        except UsageError as error:
            raise PromptError(f"size: {error}") from error
    if fields.guidance is not None and not math.isfinite(fields.guidance):
        raise PromptError(f"guidance: expected a number, got {fields.guidance}")
    if fields.negative_prompt is not None:
        try:
            check_text(fields.negative_prompt)
        except PromptError as error:
            raise PromptError(f"negative_prompt: {error}") from error
    return settings


def object_of(line: bytes) -> dict[str, Any]:
    """Return the record of a line of JSON. Infinities and NaN, which other programs write, are text.

    Raises:
        PromptError: the line is not an object of JSON, or not UTF-8.
    """
    try:
        record = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        try:
            record = json.loads(line, parse_constant=str, parse_float=_number_of)
        except (ValueError, RecursionError):
            raise PromptError(f"expected JSON: {error}") from error
    if not isinstance(record, dict):
        raise PromptError(f'expected an object like {{"prompt": "..."}}, got {line[:80].decode(errors="replace")}')
    if line.count(b"[") + line.count(b"{") > _MAX_DEPTH and _depth_of(record) > _MAX_DEPTH:
        raise PromptError(f"expected at most {_MAX_DEPTH} lists and objects inside one another, got more")
    return record


def check_record(record: Mapping[str, Any]) -> None:
    """Check that a record can be stored: half of a surrogate pair, or a byte that is not UTF-8, cannot.

    Raises:
        PromptError: it cannot; the message names the field.
    """
    if all(_is_ascii(name) and _is_ascii(value) for name, value in record.items()):
        return
    try:
        json_text(record).encode()
    except UnicodeEncodeError as error:
        for name, value in record.items():
            try:
                json_text({name: value}).encode()
            except UnicodeEncodeError as where:
                raise PromptError(f"{name!a}: expected UTF-8, got {lone_surrogate(where)}") from error


def json_text(value: Any) -> str:
    """Return a value as JSON; numbers that JSON cannot say, and values of other types, are text."""
    try:
        return _ENCODER.encode(value)
    except ValueError:
        return _ENCODER.encode(_finite(value))


def _is_ascii(value: Any) -> bool:
    return value.isascii() if isinstance(value, str) else isinstance(value, int | float)


def _number_in(value: Any) -> Any:
    """Return the number in a text, as in a CSV file; other values as they are."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _number_of(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def _finite(value: Any) -> Any:
    """Return a tree in which NaN and infinities are text."""
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
    return value


def _depth_of(value: Any) -> int:
    depth, found = 0, [value]
    while found := [item for item in found if isinstance(item, dict | list)]:
        depth += 1
        found = [child for item in found for child in (item.values() if isinstance(item, dict) else item)]
    return depth
