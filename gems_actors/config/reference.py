"""The reference of all settings, generated from the schema: as TOML, Markdown and records."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec import NODEFAULT, Meta, Struct, structs

from gems_actors.config.explain import describe, is_table, options_of
from gems_actors.config.models import ChatRoleConfig, ChatServerConfig
from gems_actors.config.schema import MeshConfig

_WIDTH = 116


class Setting(Struct, frozen=True, kw_only=True):
    """One setting."""

    table: str
    """Table of the setting as a TOML header, such as `[roles.NAME]`; empty at the top level."""
    name: str
    """Name of the setting within its table."""
    type: str
    """Description of the values that it accepts."""
    default: Any
    """Default value; None where it is unset by default."""
    meaning: str
    """One sentence, with units and what happens by default."""


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
            cells = (f"`{setting.name}`", setting.type, default, setting.meaning)
            lines.append(f"| {' | '.join(cells)} |")
        lines += [""] if settings else []
    return "\n".join(lines).strip()


def _tables(record: type[Struct], key: str) -> Iterator[tuple[str, tuple[str, tuple[Setting, ...]]]]:
    hints, docs = get_type_hints(record, include_extras=True), _field_docs(record)
    header = f"[{key}]" if key and not key.startswith("[") else key
    nested, settings = [], []
    for field in structs.fields(record) if record is not ChatRoleConfig else ():  # which repeats `[chat]`
        kind = hints[field.name]
        path = f"{key}.{field.name}" if key else field.name
        table, inner = _nested(kind, path)
        if inner is not None:
            nested.append((inner, table))
        else:
            setting = Setting(
                table=header,
                name=field.name,
                type=_type(kind),
                default=None if field.default is NODEFAULT and field.default_factory is NODEFAULT else _default(field),
                meaning=docs[field.name],
            )
            settings.append(setting)
    yield header, (" ".join(inspect.getdoc(record).split()), tuple(settings))  # type: ignore[union-attr]
    for inner, table in nested:
        yield from _tables(inner, table)


def _nested(kind: Any, path: str) -> tuple[str, type[Struct] | None]:
    """Return the key and the record of a table inside a table; no record for a plain setting."""
    if is_table(kind):
        return path, kind
    arguments = get_args(kind)
    if get_origin(kind) is dict and is_table(arguments[1]):
        return f"{path}.NAME", arguments[1]
    if get_origin(kind) is tuple and is_table(arguments[0]) and arguments[0] is not ChatServerConfig:
        return f"[[{path}]]", arguments[0]
    return path, None


def _default(field: structs.FieldInfo) -> Any:
    value = field.default if field.default is not NODEFAULT else field.default_factory()
    return msgspec.to_builtins(value)


def _type(kind: Any) -> str:
    """Return a type in words, with its bounds."""
    return " or ".join(_bounded(option) for option in options_of(kind))


def _bounded(kind: Any) -> str:
    item, *rest = get_args(kind) if get_origin(kind) is tuple else (None,)
    if rest == [...] and not is_table(item):
        return f"a list, each item {_type(item)}"
    meta = get_args(kind)[1] if get_origin(kind) is Annotated else Meta()
    lower = f" from {meta.ge:g}" if meta.ge is not None else f" above {meta.gt:g}" if meta.gt is not None else ""
    upper = "" if meta.le is None else f" to {meta.le:.16g}" if meta.ge is not None else f", at most {meta.le:.15g}"
    return f"{describe(kind)}{lower}{upper}"


@cache
def _field_docs(record: type[Struct]) -> dict[str, str]:
    """Return the documentation of every field of a record, its own before that of its bases."""
    docs: dict[str, str] = {}
    for base in reversed(record.__mro__):
        module = sys.modules[base.__module__]
        if not is_table(base) or base is Struct:
            continue
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef) and node.name == base.__name__:
                for field, following in zip(node.body, node.body[1:], strict=False):
                    match field, following:
                        case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(ast.Constant(value=str(text))):
                            docs[name] = " ".join(text.split())
    return docs


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH, break_long_words=False)]


def _toml(value: Any) -> str:
    """Return a default as TOML; empty for none."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case str():
            return msgspec.json.encode(value).decode()
        case list() | tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return f"{{ {', '.join(f'{key} = {_toml(item)}' for key, item in value.items())} }}" if value else "{}"
        case _:
            return str(value)
