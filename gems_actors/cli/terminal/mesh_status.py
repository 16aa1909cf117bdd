"""How the status of a mesh looks on a terminal: its roles, hosts, and the figures of each actor. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from gems_actors.cli.terminal.tables import counted, table_lines
from gems_actors.roles import BUILT_IN_ROLES
from gems_actors.shards import MEMORY_ROLE, shard_of_role
from gems_actors.terminal_text import printable
from protocol.identity import is_agent_role
from protocol.messages import ActorStatus, MeshStatus, RoleStatus

_UNITS: dict[str, Callable[[str, float], str]] = {
    "_share": lambda name, value: f"{name} {value:.0%}",
    "_per_s": lambda name, value: f"{value:.3g} {name}/s",
    "_bytes": lambda name, value: (
        f"{name} {value / 2**30:.2f} GiB" if value >= 2**30 else f"{name} {value / 2**20:.1f} MiB"
    ),
    "_s": lambda name, value: f"{name} {value:.3g} s" if value >= 1 else f"{name} {value * 1000:.3g} ms",
}
"""Formats of figures by the ending of their names."""


def status_lines(found: MeshStatus) -> Iterator[str]:
    """Yield a table of roles, a table of hosts if there are several, and what each actor reports."""
    roles = sorted(found.roles, key=lambda item: _sort_key(item.role))
    actors = [actor for role in roles for actor in role.actors]
    yield from table_lines([("role", "actors", "busy", "queued", "oldest", "handled", "where"), *map(_role_row, roles)])
    if len({actor.host for actor in actors}) > 1:
        yield ""
        yield from table_lines([("host", "actors", "busy", "handled", "load", "version"), *_host_rows(actors)])
        yield ""
    for actor in actors:
        if report := actor.note or ", ".join(figure_in_words(*item) for item in actor.figures.items()):
            yield printable(f"{actor.name}: {report}")
    requeued = f", {counted(found.requeued, 'request')} redelivered" if found.requeued else ""
    yield f"router up for {found.uptime_s:.0f} s, {counted(found.clients, 'client')}{requeued}"


def missing_roles(found: MeshStatus, wanted: Sequence[str]) -> str:
    """Return the wanted roles that no ready actor plays, separated by commas."""
    played = {role.role for role in found.roles if any(actor.capacity for actor in role.actors)}
    return ", ".join(role for role in wanted if role not in played)


def figure_in_words(name: str, value: float) -> str:
    """Return a figure with its unit, which is the ending of its name."""
    for ending, format_ in _UNITS.items():
        if name.endswith(ending):
            return format_(name.removesuffix(ending).replace("_", " "), value)
    return f"{name.replace('_', ' ')} {value:,.4g}" if value < 10_000 else f"{name.replace('_', ' ')} {value:,.0f}"


def _sort_key(role: str) -> tuple[int, int, str]:
    """Sort built-in roles in the order of their table, the shards of memory by number, and other roles last."""
    shard = shard_of_role(role)
    order = [*BUILT_IN_ROLES]
    name = role if shard is None else MEMORY_ROLE
    return order.index(name) if name in order else len(order), shard or 0, role


def _role_row(status: RoleStatus) -> tuple[str, ...]:
    actors = status.actors
    oldest_s = max([status.oldest_s, *(actor.oldest_s for actor in actors)])
    hosts: dict[str, list[str]] = {}
    for actor in actors:
        hosts.setdefault(actor.host, []).append(str(actor.pid))
    is_agent = is_agent_role(status.role)
    return (
        "agent" if is_agent else status.role,
        str(len(actors)),
        _busy(actors),
        f"{status.queued} (and {status.paused} paused)" if status.paused else str(status.queued),
        f"{oldest_s:.1f} s" if oldest_s else "-",
        str(sum(actor.handled for actor in actors)),
        "; ".join(actor.name for actor in actors)
        if is_agent
        else "; ".join(f"{host} {' '.join(pids)}" for host, pids in hosts.items()),
    )


def _host_rows(actors: Sequence[ActorStatus]) -> Iterator[tuple[str, ...]]:
    for host in sorted({actor.host for actor in actors}):
        there = [actor for actor in actors if actor.host == host]
        loads = [actor.figures["host_load_share"] for actor in there if "host_load_share" in actor.figures]
        yield (
            host,
            str(len(there)),
            _busy(there),
            str(sum(actor.handled for actor in there)),
            f"{max(loads):.0%}" if loads else "-",
            ", ".join(sorted({actor.version or "unknown" for actor in there})),
        )


def _busy(actors: Sequence[ActorStatus]) -> str:
    return f"{sum(actor.busy for actor in actors)}/{sum(actor.capacity for actor in actors)}"
