"""Reads the settings of a mesh from their sources: installed packages, a file, the environment, flags."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from gems_actors.config.checks import check_config
from gems_actors.config.explain import check_settings, shown
from gems_actors.config.schema import MeshConfig
from gems_actors.errors import ConfigError
from gems_actors.roles import BUILT_IN_ROLES, ENTRY_POINT_GROUP, RoleSpec

ENVIRONMENT_PREFIX = "GEMS__"
_KEY = r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*"


class _Source(NamedTuple):
    name: str
    folder: Path
    """Absolute path, to which relative paths in the source refer."""
    tree: dict[str, Any]


def load_config(
    path: Path | None = None, environment: Mapping[str, str] | None = None, settings: Iterable[str] = ()
) -> MeshConfig:
    """Read the settings of a mesh from its file, the environment and `KEY=VALUE` flags; later sources win.

    A relative path in the file refers to the file's folder, elsewhere to the working directory.

    Raises:
        ConfigError: in one line, with the source, the key, what was expected and what was found.
    """
    sources = [*_sources(path, os.environ if environment is None else environment, settings)]
    roles = dict.fromkeys((*BUILT_IN_ROLES, *(name for source in sources for name in _declared_roles(source.tree))))
    tree: dict[str, Any] = {}
    for source in sources:
        try:
            _merge(tree, _with_model_folder(check_settings(source.tree, source.folder, roles), source.folder))
        except ConfigError as error:  # each source is checked alone, so that the error can name it
            raise ConfigError(f"{source.name}: {error}") from error
    config = msgspec.convert(tree, MeshConfig)
    check_config(config)
    return config


def _sources(path: Path | None, environment: Mapping[str, str], settings: Iterable[str]) -> Iterator[_Source]:
    from importlib.metadata import entry_points  # 10 ms, which processes that are sent their settings need not spend

    here = Path().absolute()
    for point in entry_points(group=ENTRY_POINT_GROUP):
        name = f"entry point {point.name} = {point.value}"
        try:
            spec = point.load()
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"{name}: expected a RoleSpec, got {type(error).__name__}: {error}") from error
        yield _Source(name, here, _tree_of_spec(name, spec))
    if path is not None:
        yield _Source(str(path), path.parent.absolute(), _read_file(path))
    for name, text in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX):
            yield _Source(f"environment {name}", here, _read_variable(name, text))
    for flag in settings:
        yield _Source("--set", here, _read_flag(flag))


def _tree_of_spec(source: str, spec: object) -> dict[str, Any]:
    """Return the settings table of a role that an installed package declares."""
    if not isinstance(spec, RoleSpec):
        raise ConfigError(f"{source}: expected a RoleSpec, got {type(spec).__name__}")
    if spec.name in BUILT_IN_ROLES:
        raise ConfigError(f"{source}: expected a name that no built-in role has, got {spec.name}")
    if spec.sharded:
        raise ConfigError(f"{source}: expected sharded = False, which only memory is not, got True")
    table: dict[str, Any] = msgspec.to_builtins(spec)
    return {
        "roles": {
            spec.name: {
                field: list(value) if isinstance(value, tuple) else value
                for field, value in table.items()
                if field not in ("name", "sharded") and value is not None
            }
        }
    }


def _declared_roles(tree: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the roles whose class a source gives."""
    roles = tree.get("roles")
    for name, table in roles.items() if isinstance(roles, Mapping) else ():
        if isinstance(table, Mapping) and "actor" in table:
            yield name


def _with_model_folder(tree: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make the image model's path absolute where it names a folder and not a hub id."""
    model = tree.get("image", {}).get("model")
    if model is not None and (folder / model).is_dir():
        tree["image"]["model"] = str(folder / model)
    return tree


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise ConfigError(f"{path}: expected a readable TOML file, got: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected UTF-8 text, got byte {error.object[error.start]:#04x}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: expected TOML, got: {error}") from error


def _read_variable(name: str, text: str) -> dict[str, Any]:
    keys = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
    if not all(re.fullmatch(_KEY, key) for key in keys):
        raise ConfigError(f"environment {name}: expected a name such as GEMS__ROLES__VERIFIER__COUNT, got {name}")
    return _nested(keys, _value(text))


def _read_flag(flag: str) -> dict[str, Any]:
    key, equals, text = flag.partition("=")
    if not equals or not re.fullmatch(rf"{_KEY}(\.{_KEY})*", key):
        raise ConfigError(f"--set: expected KEY=VALUE such as roles.verifier.count=4, got {shown(flag)}")
    return _nested(key.split("."), _value(text))


def _value(text: str) -> Any:
    """Read a value as TOML does, and anything else as text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _nested(keys: list[str], value: Any) -> dict[str, Any]:
    for key in reversed(keys):
        value = {key: value}
    nested: dict[str, Any] = value
    return nested


def _merge(tree: dict[str, Any], update: dict[str, Any]) -> None:
    for key, value in update.items():
        if isinstance(value, dict):
            _merge(tree.setdefault(key, {}), value)
        else:
            tree[key] = value
