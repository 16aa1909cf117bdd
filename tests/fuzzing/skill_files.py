"""The text of a SKILL.md."""

from __future__ import annotations

from contextlib import suppress

from skills.catalogue import builtin_folder
from skills.checking import find_field_notes, find_field_problems
from skills.errors import SkillFormatError
from skills.parsing import parse_document


def seeds() -> list[bytes]:
    """Return the built-in skills, and front matter of odd shapes."""
    odd = [
        b"---\nname: x\ndescription: a: b\n---\ntext",
        b"---\n? [a]\n: {b: &c [1, *c]}\n---\n",
        b'---\nname: "\\ud800"\nmetadata: {a: 1, b: [2]}\nallowed-tools: Read\n---\n',
    ]
    return [path.read_bytes() for path in sorted(builtin_folder().glob("*/SKILL.md"))] + odd


def check(data: bytes) -> None:
    """Read a document, and say everything that could be said about it."""
    with suppress(SkillFormatError, UnicodeDecodeError):
        document = parse_document(data.decode())
        said = [document.description, document.instructions, document.field_text("name"), *document.problems]
        said += [*find_field_problems(document, "folder"), *find_field_notes(document)]
        "".join(said).encode()
