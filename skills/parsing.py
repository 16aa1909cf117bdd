"""Reads a SKILL.md in the open Agent Skills format, in the format of GEMS, or in both.

The open format is YAML front matter and a free body. GEMS reads the sections `## Description` and `## Instructions`,
which may be anywhere in the file; so a file with all three has both formats. This module is lenient: it reads what it
can and notes the rest. It must not know the folders (`catalogue`) or the specification (`checking`).

Source: https://agentskills.io/specification; GEMS, arXiv 2603.28088, its skill manager.
"""

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from skills.errors import SkillFormatError, problem, raise_unless_lasting

FILE_NAME = "SKILL.md"
MAX_FILE_BYTES = 256 * 1024  # ten times the size that the specification advises; the worst YAML of this size takes 3 s

_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_DESCRIPTION = re.compile(r"^## Description[ \t]*\n(.*?)(?=^##|\Z)", re.DOTALL | re.MULTILINE)
_INSTRUCTIONS = re.compile(r"^## Instructions[ \t]*\n(.*)", re.DOTALL | re.MULTILINE)
_CLOSING_RULE = re.compile(r"(?:\A|\n)-{3,}\s*\Z")  # files of GEMS have one between the two sections
_PLAIN_VALUE = re.compile(r"^([\w-]+:[ \t]+)(?=[^\s|>\"'\[{&*!#])(.*(?:\n[ \t]+.*)*)", re.MULTILINE)


@dataclass(frozen=True)
class Field:
    """One key of the front matter."""

    line: int
    """Line of the key in the file, from 1."""
    node: yaml.Node
    """Its value as a composed YAML node; it is not constructed, so that no date, number or alias can fail or expand."""

    @property
    def text(self) -> str:
        """The value as text, whatever its YAML type; empty if it is null, a list or a map."""
        if not isinstance(self.node, yaml.ScalarNode) or self.node.tag.endswith(":null"):
            return ""
        return str(self.node.value).strip()


@dataclass(frozen=True)
class Document:
    """The parts of a SKILL.md."""

    text: str
    """The whole file, newlines as `\\n`, without a byte order mark."""
    fields: Mapping[str, Field] | None
    """The front matter; None if the file has none, like the files of GEMS."""
    body: str
    body_line: int
    """First line of the body in the file, from 1."""
    problems: tuple[str, ...]
    """Problems that were ignored to read the file."""

    @property
    def description(self) -> str:
        """Description in the front matter, else the section of GEMS; empty if there is neither."""
        if text := self.field_text("description"):
            return text
        section = _DESCRIPTION.search(self.body)
        return _CLOSING_RULE.sub("", section[1].rstrip()).strip() if section else ""

    @property
    def instructions(self) -> str:
        """The section of GEMS, which extends to the end of the file, else the whole body."""
        section = _INSTRUCTIONS.search(self.body)
        return (section[1] if section else self.body).strip()

    def field_text(self, key: str) -> str:
        """Return the text of a key of the front matter; empty if the key is missing."""
        field = (self.fields or {}).get(key)
        return field.text if field else ""


def read_document(folder: Path) -> Document:
    """Read the SKILL.md in the folder of a skill.

    Raises:
        SkillFormatError: the file is missing, unreadable, too large or not UTF-8, or its front matter is not YAML.
    """
    path = folder / FILE_NAME
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a named pipe would block forever
            raise SkillFormatError(1, "a regular file", "another kind of file")
        if status.st_size > MAX_FILE_BYTES:
            raise SkillFormatError(1, f"at most {MAX_FILE_BYTES} bytes", f"{status.st_size}")
        content = path.read_bytes()
    except OSError as error:
        raise_unless_lasting(path, error)
        raise SkillFormatError(1, "a readable file", error.strerror or str(error)) from error
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SkillFormatError(line, "UTF-8", f"byte {content[error.start]:#04x}") from error
    return parse_document(text)


def parse_document(text: str) -> Document:
    """Parse the text of a SKILL.md.

    Raises:
        SkillFormatError: the front matter is not closed, or is not a YAML map.
    """
    problems: list[str] = []
    if text.startswith("\ufeff"):
        text = text[1:]
        problems.append(problem(1, "UTF-8 without a byte order mark", "one"))
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not re.match(r"---[ \t]*(?:\n|\Z)", text):
        return Document(text, None, text, 1, tuple(problems))
    if (front_matter := _FRONT_MATTER.match(text)) is None:
        raise SkillFormatError(1, "front matter closed by a line '---'", "none")
    try:
        fields = _parse_front_matter(front_matter[1])
    except SkillFormatError as error:
        quoted = _PLAIN_VALUE.sub(_quote_value_with_colon, front_matter[1])
        try:
            fields = _parse_front_matter(quoted)
        except SkillFormatError:
            raise error from error.__cause__  # the error of the original text
        problems.append(f"{error}; read as if the value were in quotes")
    body_line = text.count("\n", 0, front_matter.end()) + 1
    return Document(text, fields, text[front_matter.end() :], body_line, tuple(problems))


def _parse_front_matter(front_matter: str) -> Mapping[str, Field]:
    fields: dict[str, Field] = {}
    try:
        root = yaml.compose(front_matter, Loader=yaml.SafeLoader)
        if root is None:
            return fields
        if not isinstance(root, yaml.MappingNode):
            raise SkillFormatError(2, "front matter of 'key: value' lines", kind(root))
        for key, node in root.value:
            line = key.start_mark.line + 2  # marks count from 0, after the opening '---'
            if not isinstance(key, yaml.ScalarNode):
                raise SkillFormatError(line, "a plain key", kind(key))
            if key.value in fields:
                raise SkillFormatError(line, "unique keys", f"{key.value!r} twice")
            fields[key.value] = Field(line, node)
            # YAML's "\uD800" is a lone surrogate, which messages cannot carry: encoding it raises a ValueError.
            (key.value + fields[key.value].text).encode()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 2 if error.problem_mark else 2
        raise SkillFormatError(line, "YAML", f"invalid text ({error.problem})") from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        # PyYAML also raises errors of chr() and int(), and RecursionError for deep nesting.
        raise SkillFormatError(2, "YAML", f"invalid text ({type(error).__name__})") from error
    return fields


def _quote_value_with_colon(match: re.Match[str]) -> str:
    key, value = match.groups()
    return key + "'" + value.rstrip().replace("'", "''") + "'" if re.search(r":\s", value + "\n") else match[0]


def kind(node: yaml.Node) -> str:
    """Return the YAML type of a value: `str`, `int`, `map`, `seq`, `null`."""
    return node.tag.rpartition(":")[2]
