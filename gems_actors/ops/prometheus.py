"""The router's table in Prometheus's text format. Pure.

Roles are labels; actors are not, because their names change at every restart. All figures are of the whole mesh, and
every process reports the same: scrape one process, do not sum over several. Counters start when the router starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from gems_actors import __version__
from gems_actors.terminal_text import printable_lines
from protocol.identity import is_agent_role
from protocol.limits import CALLS_WITHIN, CALLS_WITHIN_S
from protocol.messages import MeshStatus, RoleStatus

_ROUNDS = (1, 2, 3, 4, 5, 6, 8, 10, 16, 32, 64)
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


_COUNTERS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("pictures", "tasks_total", "Trajectories that ended with a picture.", ("outcome",)),
    ("failures", "failures_total", "Trajectories that failed, each time they did.", ("code",)),
    ("refinements", "refinements_total", "What the refiner decided after rounds.", ("action",)),
    ("rounds", "rounds_total", "Rounds drawn and judged.", ()),
    ("images", "images_total", "Images drawn and judged.", ()),
    ("calls", "model_calls_total", "Calls of models, by the role that made them.", ("role",)),
    ("tokens", "tokens_total", "Tokens of chat models, by the role that used them.", ("role", "type")),
    ("seconds", "work_seconds_total", "Time that roles worked on trajectories; of the generator, drawing.", ("role",)),
    ("cost", "cost_total", "Price of chat models, in the currency of the settings.", ("role",)),
    ("restarts", "role_restarts_total", "Processes that ended unexpectedly and were replaced.", ("role",)),
)
"""First part of the name of a total, name of its metric, help, and the labels that the other parts are."""


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
    lines += _call_durations(roles)
    lines += _rounds_of_pictures(found.roles)
    totals = [item for role in found.roles for item in role.totals.items()]
    for first, name, help_text, labels in _COUNTERS:
        lines += _counter(name, help_text, labels, _sums(first, len(labels), totals))
    return "\n".join(lines) + "\n"


def _sums(first: str, depth: int, totals: Iterable[tuple[str, float]]) -> dict[tuple[str, ...], float]:
    """Return the totals of all roles whose name has this first part, by the other parts."""
    sums: dict[tuple[str, ...], float] = {}
    for name, value in totals:
        parts = tuple(name.split("/"))
        if parts[0] == first and len(parts) == depth + 1:
            sums[parts[1:]] = sums.get(parts[1:], 0.0) + value
    return sums


def _counter(
    name: str, help_text: str, labels: tuple[str, ...], sums: Mapping[tuple[str, ...], float]
) -> Iterator[str]:
    if sums:
        yield f"# HELP gems_{name} {help_text}"
        yield f"# TYPE gems_{name} counter"
    for values, figure in sorted(sums.items()):
        pairs = ",".join(f'{label}="{_escape(value)}"' for label, value in zip(labels, values, strict=True))
        yield f"gems_{name}" + (f"{{{pairs}}}" if pairs else "") + f" {figure:.15g}"


def _call_durations(roles: Iterable[RoleStatus]) -> Iterator[str]:
    """Yield how often each role was asked, and for how long it worked."""
    called = [role for role in roles if "calls" in role.totals]
    name = "role_call_duration_seconds"
    if called:
        yield f"# HELP gems_{name} Time from the hand-out of a request to its answer."
        yield f"# TYPE gems_{name} histogram"
    for role in called:
        label, totals = f'role="{_escape(role.role)}"', role.totals
        within = [(seconds, totals.get(f"{CALLS_WITHIN}{seconds:g}", 0.0)) for seconds in CALLS_WITHIN_S]
        yield from _histogram(name, label, within, totals["calls"], totals.get("call_seconds", 0.0))


def _rounds_of_pictures(roles: Iterable[RoleStatus]) -> Iterator[str]:
    """Yield how many rounds the trajectories drew that ended with a picture."""
    totals = [item for role in roles for item in role.totals.items()]
    sums = _sums("pictures_of_rounds", 1, totals)
    counts = {int(rounds): count for (rounds,), count in sums.items() if rounds.isdecimal() and len(rounds) < 4}
    if counts:
        yield "# HELP gems_task_rounds Rounds of the trajectories that ended with a picture."
        yield "# TYPE gems_task_rounds histogram"
        within = [(limit, sum(count for rounds, count in counts.items() if rounds <= limit)) for limit in _ROUNDS]
        total = sum(rounds * count for rounds, count in counts.items())
        yield from _histogram("task_rounds", "", within, sum(counts.values()), total)


def _histogram(
    name: str, label: str, within: Iterable[tuple[float, float]], count: float, total: float
) -> Iterator[str]:
    """Yield a histogram: how many values are at most each limit, how many there are, and their sum."""
    for limit, figure in [*((f"{limit:g}", figure) for limit, figure in within), ("+Inf", count)]:
        labels = ",".join(filter(None, (label, f'le="{limit}"')))
        yield f"gems_{name}_bucket{{{labels}}} {figure:.15g}"
    braces = f"{{{label}}}" if label else ""
    yield f"gems_{name}_sum{braces} {total:.15g}"
    yield f"gems_{name}_count{braces} {count:.15g}"


def _metric(name: str, kind: str, help_text: str, label: str, samples: Iterable[tuple[str, float]]) -> Iterator[str]:
    yield f"# HELP gems_{name} {help_text}"
    yield f"# TYPE gems_{name} {kind}"
    for value, figure in samples:
        yield f"gems_{name}" + (f'{{{label}="{_escape(value)}"}}' if label else "") + f" {figure:.12g}"


def _escape(value: str) -> str:
    return printable_lines(value).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
