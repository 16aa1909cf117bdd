"""Checks settings one by one, so that an error names the key, what was expected there, and what was found."""

from __future__ import annotations

import difflib
import json
import types
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct, structs

from gems_actors.config.schema import MeshConfig
from gems_actors.config.values import IS_PATH, RoleName
from gems_actors.errors import ConfigError


def check_settings(tree: Mapping[str, Any], folder: Path, roles: Collection[str]) -> dict[str, Any]:
    """Return the settings of one source, all of them possible, with absolute paths.

    Args:
        tree: the nested tables of the source.
        folder: an absolute path, to which relative paths in the source refer.
        roles: the names that a table of roles may have.

    Raises:
        ConfigError: a key is unknown, or a value impossible.
    """
    checked: dict[str, Any] = _Checker(folder, roles).check(tree, MeshConfig, "")
    return checked


class _Checker:
    def __init__(self, folder: Path, roles: Collection[str]) -> None:
        self._folder = folder
        self._roles = roles

    def check(self, value: Any, kind: Any, key: str) -> Any:
        """Return a value that fits its type, with absolute paths."""
        kind = _option_of(kind, value)
        bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
        if isinstance(value, Mapping) and is_table(bare):
            return self._table(value, bare, key)
        if isinstance(value, Mapping) and get_origin(bare) is dict and get_args(bare)[1] is not Any:
            return self._entries(value, get_args(bare)[1], key)
        if isinstance(value, list) and get_origin(bare) is tuple:
            value = self._items(value, bare, key)
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            raise _unexpected(key, kind, value) from error
        return str(self._folder / Path(value).expanduser()) if _is_path(kind) else value

    def _table(self, table: Mapping[str, Any], record: type[Struct], key: str) -> dict[str, Any]:
        hints = get_type_hints(record, include_extras=True)
        checked = {}
        for name, value in table.items():
            if name not in record.__struct_fields__:
                raise _unknown(_join(key, name), name, record.__struct_fields__)
            checked[name] = self.check(value, hints[name], _join(key, name))
        for field in structs.fields(record):
            if field.required and field.name not in table:
                raise ConfigError(f"{_join(key, field.name)}: expected {describe(hints[field.name])}, got none")
        return checked

    def _entries(self, table: Mapping[str, Any], kind: Any, key: str) -> dict[str, Any]:
        """Check a table whose keys are names of roles."""
        checked = {}
        for name, value in table.items():
            if name not in self._roles:
                raise _unknown(_join(key, name), name, self._roles)
            self.check(name, RoleName, _join(key, name))
            checked[name] = self.check(value, kind, _join(key, name))
        return checked

    def _items(self, items: list[Any], kind: Any, key: str) -> list[Any]:
        kinds = get_args(kind)
        if kinds[1:] != (...,) and len(items) != len(kinds):
            raise _unexpected(key, kind, items)
        return [
            self.check(item, kinds[0] if kinds[1:] == (...,) else kinds[number], f"{key}[{number}]")
            for number, item in enumerate(items)
        ]


def is_table(kind: Any) -> bool:
    """Return whether a type is a record of settings."""
    return isinstance(kind, type) and issubclass(kind, Struct)


def options_of(kind: Any) -> tuple[Any, ...]:
    """Return the alternatives of a type, without None, which a setting has only by being unset."""
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(option for option in get_args(kind) if option is not types.NoneType)
    return (kind,)


def describe(kind: Any, value: Any = None) -> str:
    """Return a type in words, for a number also the bound that a value breaks."""
    options = options_of(kind)
    if len(options) > 1:
        return ", or ".join(describe(option, value) for option in options)
    kind, meta = options[0], Meta()
    if get_origin(kind) is Annotated:
        kind, meta = get_args(kind)[:2]
    if meta.description is not None:
        return meta.description
    match get_origin(kind) or kind:
        case origin if origin is Literal:
            return f"{'one of ' if len(get_args(kind)) > 1 else ''}{', '.join(map(str, get_args(kind)))}"
        case origin if origin is tuple:
            return "a list" if get_args(kind)[1:] == (...,) else f"a list of {len(get_args(kind))}"
        case origin if origin is dict or is_table(origin):
            return "a table"
        case origin if origin is bool:
            return "true or false"
        case origin if origin is int:
            return f"a whole number{_broken_bound(meta, value)}"
        case origin if origin is float:
            return f"a number{_broken_bound(meta, value)}"
        case _:
            return "text"


def shown(value: Any) -> str:
    """Return a value as part of an error, in one short line."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _option_of(kind: Any, value: Any) -> Any:
    """Return the alternative that a value is probably meant to be; the whole type where that is not clear."""
    options = options_of(kind)
    lists = [option for option in options if get_origin(_bare(option)) is tuple]
    if len(options) == 1:
        return options[0]
    return lists[0] if lists and isinstance(value, list) and value else Union[options]  # noqa: UP007


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _is_path(kind: Any) -> bool:
    return get_origin(kind) is Annotated and get_args(kind)[1].extra == IS_PATH


def _broken_bound(meta: Meta, value: Any) -> str:
    """Return the bound that a number breaks; nothing where it is the type that is wrong."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if meta.ge is not None and not value >= meta.ge:  # this form is also true of nan
        return f" of at least {meta.ge:g}"
    if meta.gt is not None and not value > meta.gt:
        return f" above {meta.gt:g}"
    if meta.le is not None and not value <= meta.le:
        return f" of at most {meta.le:.0f}"
    return ""


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _unexpected(key: str, kind: Any, value: Any) -> ConfigError:
    return ConfigError(f"{key}: expected {describe(kind, value)}, got {shown(value)}")


def _unknown(key: str, name: str, known: Collection[str]) -> ConfigError:
    close = difflib.get_close_matches(name, known, n=1)
    expected = "a known key" if close else f"one of {', '.join(known)}"
    hint = f"; did you mean {close[0]}?" if close else ""
    return ConfigError(f"{key}: expected {expected}, got {shown(name)}{hint}")
