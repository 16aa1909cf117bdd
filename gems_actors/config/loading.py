"""Reads the settings of a mesh: from a file, the environment and flags, and of the roles of installed packages; and
imports the code that settings name, which is the only place where the operator's text becomes code.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from gems_actors.config.checks import Checker, UnknownRoleError, check_config, shown
from gems_actors.config.presets import preset_tree
from gems_actors.config.schema import MeshConfig, RoleConfig
from gems_actors.errors import ConfigError
from gems_actors.files import open_regular, os_reason
from gems_actors.roles import BUILT_IN_ROLES, ENTRY_POINT_GROUP, OPTIONAL_ROLES, RoleSpec, is_user_role

_PREFIX = "GEMS__"
_MAX_FILE_BYTES: Final = 16 * 1024 * 1024
_MAX_DEPTH: Final = 32
"""Levels of tables and lists in a source; the settings have five, and fields for model servers may add some."""
_TOO_DEEP: Final = f"expected tables and lists nested fewer than {_MAX_DEPTH} deep, got deeper ones"
_KEY = r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*"


class _Source(NamedTuple):
    name: str
    folder: Path
    """Absolute path, to which relative paths in the source refer."""
    tree: dict[str, Any]


class Origin(NamedTuple):
    """A setting that some source sets."""

    key: str
    """Key of the setting, such as `draw.candidates`."""
    value: Any
    source: str
    """Where the value is from: a file, `environment NAME`, `preset NAME`, `--set`, or `default`."""


def load_config(
    path: Path | None = None,
    environment: Mapping[str, str] | None = None,
    settings: Iterable[str] = (),
    preset: str | None = None,
) -> MeshConfig:
    """Read the settings of a mesh: its file, the environment, a preset, `KEY=VALUE` flags; later sources win.

    Files that the mesh file includes are read before it, and so have less weight.

    A relative path in the file refers to the file's folder, elsewhere to the working directory. A role that they name
    without its class is looked up in installed packages.

    Raises:
        ConfigError: in one line, with the source, the key, what was expected and what was found.
    """
    sources = _sources_of(path, environment, settings, preset)
    installed: dict[str, _Source] = {}
    while True:
        try:
            return _config_of([*installed.values(), *sources])
        except UnknownRoleError as error:
            if error.role in installed or (source := _installed_role(error.role)) is None:
                raise
            installed[error.role] = source


def explain_config(
    path: Path | None = None,
    environment: Mapping[str, str] | None = None,
    settings: Iterable[str] = (),
    preset: str | None = None,
) -> list[Origin]:
    """Return every setting that a source sets, by key, with the source that wins; arguments as for `load_config`.

    Raises:
        ConfigError: as for `load_config`.
    """
    given = list(settings)
    load_config(path, environment, given, preset)  # which says what is wrong
    found: dict[str, Origin] = {}
    for source in _sources_of(path, environment, given, preset):
        for key, value in _leaves(source.tree):
            found[key] = Origin(key, value, source.name)
    return [found[key] for key in sorted(found)]


def _sources_of(
    path: Path | None, environment: Mapping[str, str] | None, settings: Iterable[str], preset: str | None
) -> list[_Source]:
    here, variables = Path().absolute(), os.environ if environment is None else environment
    sources = [] if path is None else [*_file_sources(path)]
    for name in sorted(name for name in variables if name.startswith(_PREFIX)):
        sources.append(_Source(f"environment {name}", here, _read_variable(name, variables[name])))
    if preset is not None:
        sources.append(_Source(f"preset {preset}", here, preset_tree(preset)))
    sources += [_Source("--set", here, _read_flag(flag)) for flag in settings]
    for source in sources:
        if "include" in source.tree and source.name != str(path):  # it would be ignored
            raise ConfigError(f"{source.name}: include: expected it only in the mesh file, got it here")
    return sources


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the key and value of every setting in the tables of a source."""
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def with_installed_roles(config: MeshConfig, names: Iterable[str]) -> MeshConfig:
    """Return the settings with those roles that they lack and that installed packages declare.

    Raises:
        ConfigError: a package does not declare such a role correctly.
    """
    for name in names:
        if name not in config.roles and (source := _installed_role(name)) is not None:
            roles = msgspec.convert(_checked(source, [name])["roles"], dict[str, RoleConfig])
            config = msgspec.structs.replace(config, roles=config.roles | roles)
    return config


def load_code(setting: str, name: str, import_path: Iterable[str]) -> Any:
    """Return what `module:name` names, with the folders of `import_path` in front of Python's own.

    Raises:
        ConfigError: the module cannot be imported, or has no such name.
    """
    sys.path[:0] = [folder for folder in import_path if folder not in sys.path]
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:  # code of the user runs here, and may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        missing = [f"; import_path: expected folders, got {path}" for path in import_path if not Path(path).is_dir()]
        hint = (
            "".join(missing[:1] or ["; add its folder to import_path"])
            if isinstance(error, ModuleNotFoundError)
            else ""
        )
        raise ConfigError(f"{setting}: expected {name} to be importable, got {reason}{hint}") from error


def _config_of(sources: list[_Source]) -> MeshConfig:
    known = (*BUILT_IN_ROLES, *OPTIONAL_ROLES)
    roles = dict.fromkeys((*known, *(name for source in sources for name in _declared_roles(source.tree))))
    tree: dict[str, Any] = {}
    for source in sources:
        _merge(tree, _checked(source, roles))
    config = msgspec.convert(tree, MeshConfig)
    check_config(config)
    return config


def _checked(source: _Source, roles: Collection[str]) -> dict[str, Any]:
    """Return the settings of one source, checked alone, so that an error can name it."""
    try:
        tree: dict[str, Any] = Checker(source.folder, roles).check(source.tree, MeshConfig)
    except ConfigError as error:
        error.args = (f"{source.name}: {error}",)
        raise
    model = tree.get("image", {}).get("model")
    if model is not None and (source.folder / model).is_dir():  # a folder and not a hub id
        tree["image"]["model"] = str(source.folder / model)
    return tree


def _declared_roles(tree: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the roles whose class a source gives."""
    roles = tree.get("roles")
    for name, table in roles.items() if isinstance(roles, Mapping) else ():
        if isinstance(table, Mapping) and "actor" in table:
            yield name


def _installed_role(name: str) -> _Source | None:
    """Return the settings of a role that an installed package declares by an entry point of that name."""
    if not is_user_role(name):
        return None
    from importlib.metadata import entry_points  # importing and scanning costs 30 ms, which few meshes need

    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        source = f"entry point {point.name} = {point.value}"
        try:
            spec = point.load()
        except (Exception, SystemExit) as error:  # as in `load_code`
            raise ConfigError(f"{source}: expected a RoleSpec, got {type(error).__name__}: {error}") from error
        if not isinstance(spec, RoleSpec):
            raise ConfigError(f"{source}: expected a RoleSpec, got {type(spec).__name__}")
        if spec.name != name:
            raise ConfigError(f"{source}: expected a role that is named {name}, too, got {spec.name}")
        if spec.sharded:
            raise ConfigError(f"{source}: expected sharded = False, which only memory is not, got True")
        table = {
            field: list(value) if isinstance(value, tuple) else value
            for field, value in msgspec.to_builtins(spec).items()
            if field not in ("name", "sharded") and value is not None
        }
        return _Source(source, Path().absolute(), {"roles": {name: table}})
    return None


def _file_sources(path: Path) -> Iterator[_Source]:
    """Yield the files that a mesh file includes, and then itself, so that its own settings win."""
    tree, folder = _read_file(path), path.parent.absolute()
    included = tree.get("include", [])
    for name in included if isinstance(included, list) else []:  # another type is refused by the checks
        if isinstance(name, str) and name and "\0" not in name:
            other = folder / Path(name).expanduser()
            yield _Source(str(other), other.parent, _read_file(other))
    yield _Source(str(path), folder, tree)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        with open_regular(path) as file:
            data = file.read(_MAX_FILE_BYTES + 1)
        if len(data) > _MAX_FILE_BYTES:
            raise ConfigError(f"{path}: expected a TOML file of up to {_MAX_FILE_BYTES} bytes, got a larger one")
        return _toml_of(str(path), data.decode("utf-8-sig"))  # editors on Windows write a byte order mark
    except OSError as error:
        raise ConfigError(f"{path}: expected a readable TOML file, got: {os_reason(error)}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected UTF-8 text, got byte {error.object[error.start]:#04x}") from error


def _toml_of(source: str, text: str) -> dict[str, Any]:
    try:
        tree = tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{source}: {_TOO_DEEP}") from None
    except ValueError as error:  # of TOML, or of Python for a number with thousands of digits
        raise ConfigError(f"{source}: expected TOML, got: {error}") from error
    _check_depth(source, tree)
    return tree


def _check_depth(source: str, tree: Any) -> None:
    """Refuse what would exceed the stack of the checks, which follow every level."""
    layer = [tree]
    for _ in range(_MAX_DEPTH):
        inner = [item.values() if isinstance(item, dict) else item for item in layer if isinstance(item, dict | list)]
        layer = [value for values in inner for value in values]
    if layer:
        raise ConfigError(f"{source}: {_TOO_DEEP}")


def _read_variable(name: str, text: str) -> dict[str, Any]:
    keys = name.removeprefix(_PREFIX).lower().split("__")
    if not all(re.fullmatch(_KEY, key) for key in keys):
        raise ConfigError(f"environment {name}: expected a name such as GEMS__ROLES__VERIFIER__COUNT, got {name}")
    return _nested(keys, text)


def _read_flag(flag: str) -> dict[str, Any]:
    key, equals, text = flag.partition("=")
    if not equals or not re.fullmatch(rf"{_KEY}(\.{_KEY})*", key):
        raise ConfigError(f"--set: expected KEY=VALUE such as roles.verifier.count=4, got {shown(flag)}")
    return _nested(key.split("."), text)


def _nested(keys: list[str], text: str) -> dict[str, Any]:
    """Return the tables that set one key to a value, read as TOML does, and anything else as text."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except ValueError:  # as in a file
        value = text
    except RecursionError:
        raise ConfigError(f"{'.'.join(keys[:_MAX_DEPTH])}: {_TOO_DEEP}") from None
    tree: dict[str, Any] = {keys[-1]: value}
    for key in keys[-2::-1]:
        tree = {key: tree}
    _check_depth(".".join(keys[:_MAX_DEPTH]), tree)
    return tree


def _merge(tree: dict[str, Any], update: dict[str, Any]) -> None:
    for key, value in update.items():
        if isinstance(value, dict):
            _merge(tree.setdefault(key, {}), value)
        else:
            tree[key] = value
