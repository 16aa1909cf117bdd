"""The parts of a role: memory is played by one actor per shard, every other role by interchangeable actors."""

from __future__ import annotations

import importlib

from gems_actors.config import MeshConfig
from gems_actors.shards import MEMORY_ROLE


def parts_of(role: str, config: MeshConfig) -> list[str]:
    """Return the role names of the parts that each need an actor: memory's shards, else the role itself.

    Raises:
        ConfigError: the shards of the data folder cannot be read or written.
    """
    if role != MEMORY_ROLE:
        return [role]
    roles: list[str] = importlib.import_module("actors.memory_store.sharding").shard_roles(config)
    return roles
