"""What a mesh says of itself, in lines for people: roles, hosts, and what each actor reports. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from gems_actors.roles import BUILT_IN_ROLES
from gems_actors.shards import MEMORY_ROLE, shard_of_role
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
"""How `gems status` says the figures whose names end so."""


def status_lines(found: MeshStatus) -> Iterator[str]:
    """Tell who is there by role and, where they are on several hosts, by host; then what each actor reports."""
    roles = sorted(found.roles, key=lambda item: _place_of(item.role))
    actors = [actor for role in roles for actor in role.actors]
    yield from _table(("role", "actors", "busy", "queued", "oldest", "handled", "where"), map(_role_row, roles))
    if len({actor.host for actor in actors}) > 1:
        yield ""
        yield from _table(("host", "actors", "busy", "handled", "load", "version"), _host_rows(actors))
        yield ""
    for actor in actors:
        if said := actor.note or ", ".join(figure_in_words(*item) for item in actor.figures.items()):
            yield f"{actor.name}: {said}"
    requeued = f", {found.requeued} requests handed out again" if found.requeued else ""
    yield f"router up for {found.uptime_s:.0f} s, {found.clients} clients{requeued}"


def missing_roles(found: MeshStatus, wanted: Sequence[str]) -> str:
    """Return those of the wanted roles that nobody plays who takes requests, with commas between them."""
    played = {role.role for role in found.roles if any(actor.capacity for actor in role.actors)}
    return ", ".join(role for role in wanted if role not in played)


def figure_in_words(name: str, value: float) -> str:
    """Return a figure with its unit, which its name ends in."""
    for ending, words in _UNITS.items():
        if name.endswith(ending):
            return words(name.removesuffix(ending).replace("_", " "), value)
    return f"{name.replace('_', ' ')} {value:,.4g}" if value < 10_000 else f"{name.replace('_', ' ')} {value:,.0f}"


def _place_of(role: str) -> tuple[int, int, str]:
    """Return the rank of a role in the table: built-in roles in their order, shards side by side, then the others."""
    shard = shard_of_role(role)
    order = [*BUILT_IN_ROLES]
    name = role if shard is None else MEMORY_ROLE
    return order.index(name) if name in order else len(order), shard or 0, role


def _table(heads: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    """Lay rows out in columns: the first and the last to the left, numbers between them to the right."""
    lines = [heads, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads) - 1)]
    for first, *numbers, last in lines:
        cells = [
            f"{first:<{widths[0]}}",
            *(f"{cell:>{widths[1 + column]}}" for column, cell in enumerate(numbers)),
            last,
        ]
        yield "  ".join(cells).rstrip()


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
