"""Which shard of memory a trajectory belongs to, and the role names of shards. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import structs

from protocol.envelope import Header
from protocol.identity import shard_of
from protocol.limits import MAX_SHARDS

MEMORY_ROLE = "memory"
_FIRST_SHARD = f"{MEMORY_ROLE}_0"
_SHARD_ROLE = re.compile(rf"{MEMORY_ROLE}_(\d{{1,3}})")


def role_of_shard(shard: int) -> str:
    """Return the role name under which a shard joins the mesh: `memory`, `memory_1`, `memory_2`."""
    return f"{MEMORY_ROLE}_{shard}" if shard else MEMORY_ROLE


def shard_of_role(role: str) -> int | None:
    """Return the shard that a role name stands for, or None for any other role."""
    if role == MEMORY_ROLE:
        return 0
    match = _SHARD_ROLE.fullmatch(role)
    return int(match[1]) if match and int(match[1]) < MAX_SHARDS else None


def address_of_shard(shard: int) -> str:
    """Return the role name that a request uses to reach this shard; plain `memory` reaches the trajectory's shard."""
    return f"{MEMORY_ROLE}_{shard}"


def to_shard(header: Header, shards: int) -> Header:
    """Return a request's header with `memory` replaced by the role name of the shard that answers it."""
    if header.role == MEMORY_ROLE and shards > 1:
        return structs.replace(header, role=role_of_shard(shard_of(header.trajectory, shards)))
    return structs.replace(header, role=MEMORY_ROLE) if header.role == _FIRST_SHARD else header


def homes_of(trajectory: str, layouts: Sequence[int]) -> list[int]:
    """Return the shards that are or were a trajectory's home, each once, that of the current layout first.

    Layouts are the numbers of shards that memory has had, the current one last.
    """
    id_ = bytes.fromhex(trajectory)
    return list(dict.fromkeys(shard_of(id_, shards) for shards in reversed(layouts)))
