"""Which roles there are: one record per role, and the tables of the built-in and the optional ones.

Settings, permissions, start order, Slurm tables, live view and `gems role` are derived from these records. They hold
text names only, so that the router and the command line read the table without importing a role. Code is named by the
operator's file, environment and flags and by installed packages, never by a message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct

ENTRY_POINT_GROUP: Final = "gems_actors.roles"
"""Entry points of installed packages whose value is a `RoleSpec`."""
ANY: Final = "*"
"""Stands for every type of request in `RoleSpec.requests` and `RoleSpec.may_ask`."""

RUNTIME_ROLES: Final = ("router", "supervisor")
"""Roles of the runtime itself, which answer requests and are no actors."""
_RESERVED = re.compile(r"router|supervisor|blobs|client|agent|admin|gateway|head|agent_\w*|memory_\d+")


class RoleSpec(Struct, frozen=True, kw_only=True):
    """What the runtime has to know about a role; most fields mean the same as the settings of `[roles.NAME]`.

    Requests to a role are written `role.Type`, such as `memory.ReadTrajectory`, or `role.*` for all of them.
    """

    name: str
    """Name on the wire: a lower-case letter, then up to 15 lower-case letters, digits and underscores."""
    actor: str
    """Class that plays the role, as `module:Class`."""
    requests: tuple[str, ...] = (ANY,)
    clients_may_ask: tuple[str, ...] | None = None
    """Types of requests that a client's key may send to the role; None: all of `requests`."""
    may_ask: tuple[str, ...] = ()
    """Requests to other roles that the role's key may send; these roles are started before it."""
    may_publish: tuple[str, ...] = ()
    reads_blobs: bool = False
    writes_blobs: bool = False
    """Whether the role's key may add pictures to the blob store, and read them."""
    uses_chat: bool = False
    scales_freely: bool = True
    """Whether a host may run more actors of the role for little, so that the supervisor may add some under load."""
    sharded: bool = False
    """Whether the role keeps a log in shards, one process each; only memory's implementation does."""
    version: str = ""
    survives_pause: bool = False


_READS = (
    "memory.ReadTrajectory", "memory.FindBestAttempt", "memory.ListTrajectories", "memory.ListRuns",
    "memory.RecallExperiences", "memory.ReadLog", "memory.CountRecords", "memory.SearchTrajectories",
    "memory.ReadRunFigures", "memory.ReadTimeline", "memory.CountSkills",
)  # fmt: skip
_WRITES = ("memory.AppendRecord", "memory.AppendRecords")
_READ_TYPES = tuple(request.partition(".")[2] for request in _READS)

_TABLE = (
    RoleSpec(
        name="conductor", actor="actors.conductor:Conductor", requests=("DrawPicture",),
        may_ask=(
            "planner.PlanPrompt", "decomposer.DecomposePrompt", "generator.GenerateImage", "verifier.VerifyImage",
            "verifier.CompareImages", "compressor.CompressAttempt", "refiner.RefinePrompt", *_READS, *_WRITES,
        ),
        may_publish=("StepTaken", "ImageDrawn"), reads_blobs=True,
    ),
    RoleSpec(
        name="planner", actor="actors.planner:Planner", requests=("PlanPrompt",),
        clients_may_ask=(), may_ask=_READS, reads_blobs=True, uses_chat=True,
    ),
    RoleSpec(
        name="decomposer", actor="actors.decomposer:Decomposer", requests=("DecomposePrompt",),
        clients_may_ask=(), uses_chat=True,
    ),
    RoleSpec(
        name="generator", actor="actors.generator:Generator", requests=("GenerateImage",),
        clients_may_ask=(), reads_blobs=True, writes_blobs=True, scales_freely=False,
    ),
    RoleSpec(
        name="verifier", actor="actors.verifier:Verifier", requests=("VerifyImage", "CompareImages"),
        clients_may_ask=(), reads_blobs=True, uses_chat=True,
    ),
    RoleSpec(
        name="compressor", actor="actors.compressor:Compressor", requests=("CompressAttempt",),
        clients_may_ask=(), may_ask=_READS, reads_blobs=True, uses_chat=True,
    ),
    RoleSpec(
        name="refiner", actor="actors.refiner:Refiner", requests=("RefinePrompt",),
        clients_may_ask=(), may_ask=_READS, reads_blobs=True, uses_chat=True,
    ),
    RoleSpec(
        name="memory", actor="actors.memory:Memory", requests=("AppendRecord", "AppendRecords", *_READ_TYPES),
        clients_may_ask=("AppendRecord", *_READ_TYPES), may_ask=(*_READS, *_WRITES),  # its shards ask one another
        scales_freely=False, sharded=True,
        survives_pause=True,  # what was drawn before is still recorded, and its progress can be read
    ),
)  # fmt: skip

BUILT_IN_ROLES: Final[Mapping[str, RoleSpec]] = MappingProxyType({spec.name: spec for spec in _TABLE})
"""The roles of this package by name, in the order in which a prompt meets them, which is also how they are shown."""

_OPTIONAL_TABLE = (
    RoleSpec(
        name="gateway", actor="gems_actors.gateway.actor:Gateway", requests=(),
        may_ask=("conductor.DrawPicture", "supervisor.ScaleRole", *_READS), reads_blobs=True, scales_freely=False,
    ),
    RoleSpec(
        name="curator", actor="actors.curator:Curator", requests=("ProposeSkill",), uses_chat=True, scales_freely=False,
    ),
)  # fmt: skip

OPTIONAL_ROLES: Final[Mapping[str, RoleSpec]] = MappingProxyType({spec.name: spec for spec in _OPTIONAL_TABLE})
"""Roles of this package that a mesh has only where its settings name them, one process a host; no other process imports
their code. The gateway asks as clients do: its key needs the grant `client`, too."""


def is_user_role(name: str) -> bool:
    """Return whether a name is that of a role of the user: neither built in nor used by the runtime itself."""
    return name not in BUILT_IN_ROLES and not _RESERVED.fullmatch(name)


def start_order(roles: Mapping[str, RoleSpec]) -> tuple[str, ...]:
    """Return the names of roles with every role after those that it may ask; inside a cycle the table's order holds."""
    ordered: dict[str, None] = {}
    visited: set[str] = set()

    def visit(name: str) -> None:
        if name in roles and name not in visited:
            visited.add(name)
            for request in roles[name].may_ask:
                visit(request.partition(".")[0])
            ordered[name] = None

    for name in roles:
        visit(name)
    return tuple(ordered)


def stop_order(roles: Mapping[str, RoleSpec]) -> tuple[tuple[str, ...], ...]:
    """Return groups of roles that can stop at once, each role in a later group than those that may ask it."""
    left = list(reversed(start_order(roles)))
    groups: list[tuple[str, ...]] = []
    while left:
        asked = {role for name in left for role in _asked_by(roles[name])}
        group = [name for name in left if name not in asked] or left[:1]  # inside a cycle the table's order holds
        groups.append(tuple(group))
        left = [name for name in left if name not in group]
    return tuple(groups)


def _asked_by(spec: RoleSpec) -> set[str]:
    """Return the other roles that a role may ask."""
    return {request.partition(".")[0] for request in spec.may_ask} - {spec.name}
