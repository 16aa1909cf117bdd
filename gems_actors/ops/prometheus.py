"""The router's table in Prometheus's text format. Pure.

Roles are labels; actors are not, because their names change at every restart. All figures are of the whole mesh, and
every process reports the same: scrape one process, do not sum over several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from gems_actors import __version__
from gems_actors.terminal_text import printable_lines
from protocol.identity import is_agent_role
from protocol.messages import MeshStatus, RoleStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_ROLE_METRICS: tuple[tuple[str, str, Callable[[RoleStatus], float]], ...] = (
    ("queue_depth", "Requests queued for an actor.", lambda role: role.queued),
    ("oldest_seconds", "Age of the oldest queued request.", lambda role: role.oldest_s),
    ("workers", "Actors that accept requests.", lambda role: sum(actor.capacity > 0 for actor in role.actors)),
    ("capacity", "Requests that its actors handle at once.", lambda role: sum(a.capacity for a in role.actors)),
    ("paused", "Requests queued until their paused run is resumed.", lambda role: role.paused),
    ("busy", "Requests that its actors are handling.", lambda role: sum(actor.busy for actor in role.actors)),
    (
        "held_seconds",
        "Time for which the oldest request in flight has been handled.",
        lambda role: max((actor.oldest_s for actor in role.actors), default=0.0),
    ),
)


def metrics_text(found: MeshStatus) -> str:
    """Return the answer to a scrape, in Prometheus's text format."""
    roles = [role for role in found.roles if not is_agent_role(role.role)]
    agents = sum(len(role.actors) for role in found.roles if is_agent_role(role.role))
    reported = {actor.version for role in found.roles for actor in role.actors if actor.version}
    versions = [(version, 1) for version in sorted(reported or {__version__})]
    lines = [*_metric("build_info", "gauge", "Versions of the actors in the mesh.", "version", versions)]
    for name, kind, help_text, figure in (
        ("router_uptime_seconds", "gauge", "Time since the router started.", found.uptime_s),
        ("clients", "gauge", "Connected clients.", found.clients),
        ("agents", "gauge", "Agents that run roles on further hosts.", agents),
        ("requeued_requests_total", "counter", "Requests requeued because their actor was lost.", found.requeued),
    ):
        lines += _metric(name, kind, help_text, "", [("", figure)])
    for name, help_text, measure in _ROLE_METRICS:
        lines += _metric(f"role_{name}", "gauge", help_text, "role", ((role.role, measure(role)) for role in roles))
    return "\n".join(lines) + "\n"


def _metric(name: str, kind: str, help_text: str, label: str, samples: Iterable[tuple[str, float]]) -> Iterator[str]:
    yield f"# HELP gems_{name} {help_text}"
    yield f"# TYPE gems_{name} {kind}"
    for value, figure in samples:
        yield f"gems_{name}" + (f'{{{label}="{_escape(value)}"}}' if label else "") + f" {figure:.12g}"


def _escape(value: str) -> str:
    return printable_lines(value).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
