"""Checks settings: one by one, so that an error names the key, what was expected and what was found; then together."""

from __future__ import annotations

import difflib
import ipaddress
import json
import math
import re
import sys
import types
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct, structs

from gems_actors.config.schema import MeshConfig
from gems_actors.config.values import IS_PATH, MESH_BLOBS, RoleName
from gems_actors.errors import ConfigError
from gems_actors.roles import ANY, BUILT_IN_ROLES, OPTIONAL_ROLES, RUNTIME_ROLES, RoleSpec, is_user_role
from gems_actors.terminal_text import without_passwords
from protocol.blobs import MAX_ROUTER_PORT

_MAX_RESTARTS_PER_S = 20
"""Restarts of one role within a second beyond which a mesh would do little else."""
_MIN_INT, _END_INT = -(2**63), 2**64


class UnknownRoleError(ConfigError):
    """A setting names a role that is neither built in nor declared by a source."""

    def __init__(self, message: str, role: str) -> None:
        super().__init__(message)
        self.role = role


class Checker:
    """Checks one source, in which paths are relative to `folder` and tables of roles may have the names in `roles`."""

    def __init__(self, folder: Path, roles: Collection[str]) -> None:
        self._folder, self._roles = folder, roles

    def check(self, value: Any, kind: Any, key: str = "") -> Any:
        """Return a value that fits its type, with absolute paths.

        Raises:
            ConfigError: a key is unknown, or a value impossible.
        """
        kind = _option_of(kind, value)
        bare, meta = unwrap(kind)
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
        if isinstance(value, Mapping):
            _check_free_values(value, key)
        return str(self._folder / Path(value).expanduser()) if meta.extra == IS_PATH else value

    def _table(self, table: Mapping[str, Any], record: type[Struct], key: str) -> dict[str, Any]:
        hints = _hints_of(record)
        checked = {}
        for name, value in table.items():
            if name not in record.__struct_fields__:
                raise ConfigError(_unknown(_join(key, name), name, record.__struct_fields__))
            checked[name] = self.check(value, hints[name], _join(key, name))
        for name in _required_in(record):
            if name not in table:
                raise ConfigError(f"{_join(key, name)}: expected {describe(hints[name])}, got none")
        return checked

    def _entries(self, table: Mapping[str, Any], kind: Any, key: str) -> dict[str, Any]:
        """Check a table whose keys are names of roles."""
        checked = {}
        for name, value in table.items():
            if name not in self._roles:
                reason = _unknown(_join(key, name), name, self._roles)
                hint = "; a role of your own needs `actor`" if key == "roles" and not reason.endswith("?") else ""
                raise UnknownRoleError(reason + hint, name)
            self.check(name, RoleName, _join(key, name))
            checked[name] = self.check(value, kind, _join(key, name))
        return checked

    def _items(self, items: list[Any], kind: Any, key: str) -> list[Any]:
        kinds = get_args(kind)
        if kinds[1:] == (...,):
            kinds = kinds[:1] * len(items)
        if len(items) != len(kinds):
            raise _unexpected(key, kind, items)
        return [self.check(item, kinds[number], f"{key}[{number}]") for number, item in enumerate(items)]


@cache  # evaluating them takes most of a check, which the gateway does for each request
def _hints_of(record: type[Struct]) -> dict[str, Any]:
    return get_type_hints(record, include_extras=True)


@cache
def _required_in(record: type[Struct]) -> tuple[str, ...]:
    return tuple(field.name for field in structs.fields(record) if field.required)


def _check_free_values(value: Any, key: str) -> None:
    """Refuse numbers that JSON cannot carry, in fields for a model server."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_free_values(inner, _join(key, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _check_free_values(inner, f"{key}[{number}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{key}: expected a finite number, got {shown(value)}")
    elif isinstance(value, int) and not _MIN_INT <= value < _END_INT:
        raise ConfigError(f"{key}: expected a whole number of up to 64 bits, got {shown(value)}")


def check_config(config: MeshConfig) -> None:
    """Check what no single setting shows.

    Raises:
        ConfigError: settings contradict each other, or one that another requires is missing.
    """
    _check_router(config)
    _check_supervisor(config)
    _check_models(config)
    _check_gateway(config)
    specs = config.role_specs
    for setting, role, request in config.loop.hooks():  # before `may_ask` of the conductor, which these are added to
        _check_name(f"loop.{setting}", role, specs)
        if not {request, ANY} & {*specs[role].requests}:
            known = ", ".join(specs[role].requests)
            raise ConfigError(f"roles.{role}.requests: expected {request}, which loop.{setting} needs, got {known}")
    for spec in specs.values():
        _check_role(config, spec)
        for request in spec.may_ask:
            _check_name(f"roles.{spec.name}.may_ask", request.partition(".")[0], (*specs, *RUNTIME_ROLES))
    for role in config.chat.roles:
        _check_name(f"chat.roles.{role}", role, config.chat_roles)
    unsharded = [name for name, spec in specs.items() if not spec.sharded]
    for number, group in enumerate(config.slurm.groups):
        for role in group.roles:
            _check_name(f"slurm.groups[{number}].roles.{role}", role, unsharded)


def is_table(kind: Any) -> bool:
    """Return whether a type is a record of settings."""
    return isinstance(kind, type) and issubclass(kind, Struct)


def options_of(kind: Any) -> tuple[Any, ...]:
    """Return the alternatives of a type, without None, which a setting has only by being unset."""
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(option for option in get_args(kind) if option is not types.NoneType)
    return (kind,)


def unwrap(kind: Any) -> tuple[Any, Meta]:
    """Return a type without its annotation, and the annotation, which may be empty."""
    return get_args(kind)[:2] if get_origin(kind) is Annotated else (kind, Meta())


def describe(kind: Any, value: Any = None) -> str:
    """Return a type in words, for numbers and text also the bound that a value breaks."""
    options = options_of(kind)
    if len(options) > 1:
        return ", or ".join(describe(option, value) for option in options)
    kind, meta = unwrap(options[0])
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if meta.description is not None:
        return meta.description
    if origin is Literal:
        return f"{'one of ' if len(arguments) > 1 else ''}{', '.join(map(str, arguments))}"
    if origin is tuple:
        return "a list" if arguments[1:] == (...,) else f"a list of {len(arguments)}"
    if origin is dict or is_table(origin):
        return "a table"
    if origin in (int, float):
        return f"a {'whole ' if origin is int else ''}number{_broken_bound(meta, value)}"
    return "true or false" if origin is bool else f"text{_broken_length(meta, value)}"


def shown(value: Any) -> str:
    """Return a value as part of an error, in one short line."""
    try:
        text = without_passwords(json.dumps(value, default=str, ensure_ascii=False))
    except ValueError:  # Python writes no longer ones
        return f"a number of more than {sys.get_int_max_str_digits()} digits"
    return text if len(text) <= 200 else f"{text[:200]}…"


def _option_of(kind: Any, value: Any) -> Any:
    """Return the alternative that a value is probably meant to be; the whole type where that is not clear."""
    options = options_of(kind)
    if len(options) == 1:
        return options[0]
    lists = [option for option in options if get_origin(unwrap(option)[0]) is tuple]
    return lists[0] if lists and isinstance(value, list) and value else Union[options]  # noqa: UP007


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


def _broken_length(meta: Meta, value: Any) -> str:
    """Return the length that a text breaks; nothing where it is the type or the form that is wrong."""
    if not isinstance(value, str):
        return ""
    if meta.min_length is not None and len(value) < meta.min_length:
        return f" of at least {meta.min_length} character{'s' * (meta.min_length > 1)}"
    if meta.max_length is not None and len(value) > meta.max_length:
        return f" of at most {meta.max_length:,} characters"
    return ""


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _unexpected(key: str, kind: Any, value: Any) -> ConfigError:
    return ConfigError(f"{key}: expected {describe(kind, value)}, got {shown(value)}")


def _unknown(key: str, name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    expected = "a known key" if close else f"one of {', '.join(known)}"
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{key}: expected {expected}, got {shown(name)}{hint}"


def _check_router(config: MeshConfig) -> None:
    router = config.router
    if router.silence_s < 3 * router.heartbeat_s:  # one late heartbeat is no death
        raise ConfigError(
            f"router.silence_s: expected at least 3 times router.heartbeat_s ({router.heartbeat_s:g}), "
            f"got {router.silence_s:g}"
        )
    port = re.fullmatch(r"tcp://.*:(\d+)", router.address or "")
    if config.blobs == MESH_BLOBS and port and int(port[1]) > MAX_ROUTER_PORT:
        raise ConfigError(
            f"router.address: expected a port up to {MAX_ROUTER_PORT}, because pictures are served at a port 100 "
            f"higher, got {router.address}"
        )


def _check_supervisor(config: MeshConfig) -> None:
    settings = config.supervisor
    if settings.max_backoff_s < settings.backoff_s:
        raise ConfigError(
            f"supervisor.max_backoff_s: expected at least supervisor.backoff_s ({settings.backoff_s:g}), "
            f"got {settings.max_backoff_s:g}"
        )
    if settings.max_restarts > (limit := int(_MAX_RESTARTS_PER_S * settings.period_s)):
        raise ConfigError(
            f"supervisor.max_restarts: expected at most {limit} with supervisor.period_s = {settings.period_s:g}, "
            f"got {settings.max_restarts}"
        )


def _check_models(config: MeshConfig) -> None:
    if config.image.backend in ("openai", "gems") and config.image.url is None:
        raise _no_server("image")
    if config.image.backend == "diffusers" and config.image.model is None:
        raise ConfigError("image.model: expected a folder or a hub id such as owner/name, got none")
    for table, model in config.chat_models().items():
        for number, server in enumerate((model, *model.fallbacks)):
            if model.backend == "openai" and server.url is None:
                raise _no_server(f"{table}.fallbacks[{number - 1}]" if number else table)
        if model.backend == "replay" and config.chat.replay is None:
            raise ConfigError("chat.replay: expected the path of a file that chat.record has made, got none")
    own = structs.asdict(config.verify.thresholds)
    for table, part in {"verify": config.verify, **{f"verify.thresholds.{kind}": own[kind] for kind in own}}.items():
        if part is not None and part.unmet_below > part.met_from:
            raise ConfigError(
                f"{table}.unmet_below: expected at most {table}.met_from ({part.met_from:g}), got {part.unmet_below:g}"
            )


def _check_gateway(config: MeshConfig) -> None:
    gateway, role = config.gateway, config.roles.get("gateway")
    if gateway.address is None:
        if role is not None and role.count:
            raise ConfigError("gateway.address: expected HOST:PORT such as 127.0.0.1:8484 for roles.gateway, got none")
        return
    if not is_loopback(gateway.address) and gateway.tokens is None and gateway.tokens_env is None:
        raise ConfigError(
            f"gateway.tokens: expected a file with tokens, or gateway.tokens_env, because {gateway.address} can be "
            "reached from other hosts, got neither"
        )
    if (gateway.tls_certificate is None) != (gateway.tls_key is None):
        raise ConfigError("gateway.tls_certificate: expected it together with gateway.tls_key, got one of them")


def is_loopback(address: str) -> bool:
    """Return whether only this host reaches an address `HOST:PORT`."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_role(config: MeshConfig, spec: RoleSpec) -> None:
    """Check a role's name and class, and that it may scale by itself, from fewer to more."""
    name, settings = spec.name, config.role(spec.name)
    if name not in (*BUILT_IN_ROLES, *OPTIONAL_ROLES) and not is_user_role(name):
        raise ConfigError(f"roles.{name}: expected a name that the runtime does not use itself, got {name}")
    if not spec.actor:
        raise ConfigError(f"roles.{name}.actor: expected a class as MODULE:CLASS, got none")
    if settings.max is None:
        if settings.min is not None:
            raise ConfigError(f"roles.{name}.min: expected it together with roles.{name}.max, got {settings.min} alone")
        return
    if not spec.scales_freely:
        known = ", ".join(other.name for other in config.role_specs.values() if other.scales_freely)
        raise ConfigError(f"roles.{name}.max: expected it of a role that scales freely ({known}), got {name}")
    least = settings.count if settings.min is None else settings.min
    if not least <= settings.count <= settings.max:
        raise ConfigError(
            f"roles.{name}: expected min <= count <= max, got {least}, {settings.count} and {settings.max}"
        )


def _check_name(key: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise UnknownRoleError(f"{key}: expected one of {', '.join(known)}, got {name}", name)


def _no_server(table: str) -> ConfigError:
    return ConfigError(f"{table}.url: expected the address of a server, such as http://HOST:8000/v1, got none")
