"""A mesh's table as Prometheus reads it. Pure.

A role is a label and an actor is none, for its name is another after every start. The figures are of the whole mesh:
any one process can tell them, so scrape one and do not add up several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from gems_actors import __version__
from protocol.identity import is_agent_role
from protocol.messages import MeshStatus, RoleStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_OF_ROLES: tuple[tuple[str, str, Callable[[RoleStatus], float]], ...] = (
    ("queue_depth", "Requests that wait for an actor.", lambda role: role.queued),
    ("oldest_seconds", "Age of the request that has waited longest.", lambda role: role.oldest_s),
    ("workers", "Actors that take requests.", lambda role: sum(actor.capacity > 0 for actor in role.actors)),
    ("capacity", "Requests that its actors take at once.", lambda role: sum(a.capacity for a in role.actors)),
    ("paused", "Requests that wait until their run goes on.", lambda role: role.paused),
    ("busy", "Requests that its actors hold.", lambda role: sum(actor.busy for actor in role.actors)),
    (
        "held_seconds",
        "For how long the request that has been held longest is held.",
        lambda role: max((actor.oldest_s for actor in role.actors), default=0.0),
    ),
)


def metrics_text(found: MeshStatus) -> str:
    """Return what answers a scrape, in Prometheus's text format."""
    roles = [role for role in found.roles if not is_agent_role(role.role)]
    agents = sum(len(role.actors) for role in found.roles if is_agent_role(role.role))
    said = {actor.version for role in found.roles for actor in role.actors if actor.version}
    versions = [(version, 1) for version in sorted(said or {__version__})]
    lines = [
        *_metric("build_info", "gauge", "Versions that play in the mesh.", "version", versions),
        *_metric("router_uptime_seconds", "gauge", "For how long the router runs.", "", [("", found.uptime_s)]),
        *_metric("clients", "gauge", "Clients that are connected.", "", [("", found.clients)]),
        *_metric("agents", "gauge", "Agents that play roles on further hosts.", "", [("", agents)]),
        *_metric(
            "requeued_requests_total",
            "counter",
            "Requests handed out again because their actor was lost.",
            "",
            [("", found.requeued)],
        ),
    ]
    for name, words, figure in _OF_ROLES:
        lines += _metric(f"role_{name}", "gauge", words, "role", ((role.role, figure(role)) for role in roles))
    return "\n".join(lines) + "\n"


def _metric(name: str, kind: str, words: str, label: str, samples: Iterable[tuple[str, float]]) -> Iterator[str]:
    yield f"# HELP gems_{name} {words}"
    yield f"# TYPE gems_{name} {kind}"
    for value, figure in samples:
        yield f"gems_{name}" + (f'{{{label}="{_escaped(value)}"}}' if label else "") + f" {figure:.12g}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
