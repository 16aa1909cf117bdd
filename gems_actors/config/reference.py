"""The reference of all settings, generated from the schema: as TOML, Markdown and records."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec import NODEFAULT, Struct, structs

from gems_actors.config.checks import describe, is_table, options_of, unwrap
from gems_actors.config.models import ChatRoleConfig, ChatServerConfig
from gems_actors.config.schema import MeshConfig

_WIDTH = 116


class Setting(Struct, frozen=True):
    """One setting, as `gems config --json` prints it."""

    table: str
    """Table of the setting as a TOML header, such as `[roles.NAME]`; empty at the top level."""
    name: str
    type: str
    """Description of the values that it accepts."""
    default: Any
    """Default value; None where it is unset by default."""
    meaning: str


def list_settings() -> dict[str, tuple[str, tuple[Setting, ...]]]:
    """Return what each table is about and its settings, by the table's header, in the order of a file."""
    return dict(_tables(MeshConfig, ""))


def settings_as_toml() -> str:
    """Return all settings as a TOML file that sets every default."""
    lines: list[str] = []
    for header, (about, settings) in list_settings().items():
        is_example = "NAME" in header or header.startswith("[[")
        lines += ["", *_comment(about), f"# {header}" if is_example else header] if header else _comment(about)
        for setting in settings:
            lines += ["", *_comment(f"{setting.meaning} ({setting.type})")]
            is_unset = is_example or setting.default is None
            lines.append(f"{'# ' if is_unset else ''}{setting.name} = {_toml(setting.default)}".rstrip())
    return "\n".join(lines) + "\n"


def settings_as_markdown() -> str:
    """Return all settings as Markdown, with one heading and one table per TOML table."""
    lines: list[str] = []
    for header, (about, settings) in list_settings().items():
        lines += [f"### `{header or 'top level'}`", "", about, ""]
        lines += ["| setting | type | default | meaning |", "|---|---|---|---|"] if settings else []
        for setting in settings:
            default = "" if setting.default is None else f"`{_toml(setting.default)}`"
            lines.append(f"| `{setting.name}` | {setting.type} | {default} | {setting.meaning} |")
        lines += [""] if settings else []
    return "\n".join(lines).strip()


def _tables(record: type[Struct], key: str) -> Iterator[tuple[str, tuple[str, tuple[Setting, ...]]]]:
    hints, docs = get_type_hints(record, include_extras=True), _field_docs(record)
    header = f"[{key}]" if key and not key.startswith("[") else key
    nested, settings = [], []
    for field in structs.fields(record) if record is not ChatRoleConfig else ():  # which repeats `[chat]`
        name, kind = field.name, hints[field.name]
        if inner := _nested(kind, f"{key}.{name}" if key else name):
            nested.append(inner)
        else:
            settings.append(Setting(header, name, _type(kind), _default(field), docs[name]))
    yield header, (" ".join((inspect.getdoc(record) or "").split()), tuple(settings))
    for inner in nested:
        yield from _tables(*inner)


def _nested(kind: Any, path: str) -> tuple[type[Struct], str] | None:
    """Return the record and the key of a table inside a table; None for a plain setting."""
    origin, arguments = get_origin(kind), get_args(kind)
    if is_table(kind):
        return kind, path
    if origin is dict and is_table(arguments[1]):
        return arguments[1], f"{path}.NAME"
    if origin is tuple and is_table(arguments[0]) and arguments[0] is not ChatServerConfig:
        return arguments[0], f"[[{path}]]"
    return None


def _default(field: structs.FieldInfo) -> Any:
    if field.required:
        return None
    return msgspec.to_builtins(field.default if field.default is not NODEFAULT else field.default_factory())


def _type(kind: Any) -> str:
    """Return a type in words, with its bounds."""
    return " or ".join(_bounded(option) for option in options_of(kind))


def _bounded(kind: Any) -> str:
    item, *rest = get_args(kind) if get_origin(kind) is tuple else (None,)
    if rest == [...] and not is_table(item):
        return f"a list, each item {_type(item)}"
    _, meta = unwrap(kind)
    lower = f" from {meta.ge:g}" if meta.ge is not None else f" above {meta.gt:g}" if meta.gt is not None else ""
    upper = "" if meta.le is None else f" to {meta.le:.16g}" if meta.ge is not None else f", at most {meta.le:.15g}"
    return f"{describe(kind)}{lower}{upper}"


@cache
def _field_docs(record: type[Struct]) -> dict[str, str]:
    """Return the documentation of every field of a record, its own before that of its bases."""
    docs: dict[str, str] = {}
    for base in record.__mro__[::-1] if record is not ChatRoleConfig else ():
        if is_table(base) and base is not Struct:
            (class_,) = ast.parse(inspect.getsource(base)).body
            for field, following in pairwise(class_.body):  # type: ignore[attr-defined]  # it parsed a class
                match field, following:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(ast.Constant(value=str(text))):
                        docs[name] = " ".join(text.split())
    return docs


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH, break_long_words=False)]


def _toml(value: Any) -> str:
    """Return a default as TOML, which for these values is the same as JSON; empty for none."""
    return "" if value is None else json.dumps(value, ensure_ascii=False)
