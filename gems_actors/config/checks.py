"""Rules that concern several settings at once."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gems_actors.config.schema import MeshConfig
from gems_actors.config.values import MESH_BLOBS
from gems_actors.errors import ConfigError
from gems_actors.roles import BUILT_IN_ROLES, RUNTIME_ROLES, RoleSpec, is_user_role
from protocol.blobs import MAX_ROUTER_PORT


def check_config(config: MeshConfig) -> None:
    """Check what no single setting shows.

    Raises:
        ConfigError: settings contradict each other, or one that another requires is missing.
    """
    _check_router(config)
    _check_models(config)
    specs = config.role_specs
    for setting, role, _ in config.loop.hooks():  # before `may_ask` of the conductor, which these are added to
        _check_name(f"loop.{setting}", role, specs)
    for spec in specs.values():
        _check_role(config, spec)
        for request in spec.may_ask:
            _check_name(f"roles.{spec.name}.may_ask", request.partition(".")[0], (*specs, *RUNTIME_ROLES))
    for role in config.chat.roles:
        _check_name(f"chat.roles.{role}", role, config.chat_roles)
    for number, group in enumerate(config.slurm.groups):
        for role in group.roles:
            _check_name(
                f"slurm.groups[{number}].roles.{role}", role, [name for name, spec in specs.items() if not spec.sharded]
            )


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


def _check_models(config: MeshConfig) -> None:
    if config.image.backend == "openai" and config.image.url is None:
        raise _no_server("image")
    if config.image.backend == "diffusers" and config.image.model is None:
        raise ConfigError("image.model: expected a folder or a hub id such as owner/name, got none")
    for table, model in config.chat_models().items():
        for number, server in enumerate((model, *model.fallbacks)):
            if model.backend == "openai" and server.url is None:
                raise _no_server(f"{table}.fallbacks[{number - 1}]" if number else table)
        if model.backend == "replay" and config.chat.replay is None:
            raise ConfigError("chat.replay: expected the path of a file that chat.record has made, got none")
    verify = config.verify
    if verify.unmet_below > verify.met_from:
        raise ConfigError(
            f"verify.unmet_below: expected at most verify.met_from ({verify.met_from:g}), got {verify.unmet_below:g}"
        )


def _check_role(config: MeshConfig, spec: RoleSpec) -> None:
    """Check a role's name and class, and that it may scale by itself, from fewer to more."""
    name, settings = spec.name, config.role(spec.name)
    if name not in BUILT_IN_ROLES and not is_user_role(name):
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


def _check_name(key: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise ConfigError(f"{key}: expected one of {', '.join(known)}, got {name}")


def _no_server(table: str) -> ConfigError:
    return ConfigError(f"{table}.url: expected the address of a server, such as http://HOST:8000/v1, got none")
