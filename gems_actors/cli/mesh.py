"""`gems up`, `status`, `scale`, `down` and `role`: a mesh that outlives one command."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import msgspec
import trio

from gems_actors.cli.endings import DONE, INTERRUPTED
from gems_actors.cli.interrupts import open_interrupts
from gems_actors.cli.options import config_option, json_option, parse_address, read_config, router_option, set_option
from gems_actors.client import open_client
from gems_actors.config import ROLES, MeshConfig
from gems_actors.errors import DeadlineError
from gems_actors.process import run_role
from gems_actors.supervisor import open_supervisor
from gems_actors.tasks import open_background
from gems_actors.telemetry import configure_logging
from protocol.messages import MeshStatus, ReadStatus, ReplyT, Request, RoleStatus, ScaleRole, StopMesh

_UNITS: dict[str, Callable[[str, float], str]] = {
    "_share": lambda name, value: f"{name} {value:.0%}",
    "_per_s": lambda name, value: f"{value:.3g} {name}/s",
    "_bytes": lambda name, value: (
        f"{name} {value / 2**30:.2f} GiB" if value >= 2**30 else f"{name} {value / 2**20:.1f} MiB"
    ),
    "_s": lambda name, value: f"{name} {value:.3g} s" if value >= 1 else f"{name} {value * 1000:.3g} ms",
}
"""How `gems status` says the figures whose names end so."""
_CONNECT_S = 2.0
_ANSWER_S = 10.0
_MAX_ACTORS = 4096


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False, metavar="[mesh.toml]")
@set_option
def up(file: Path | None, overrides: tuple[str, ...]) -> int:
    """Run a mesh in the foreground, with the settings of a TOML file or the embedded ones.

    Ctrl-C or SIGTERM once drains it, twice kills it.
    """
    config = read_config(file, overrides)
    configure_logging(config.log, role="supervisor")
    return trio.run(_up, config)


@click.command()
@config_option
@set_option
@router_option
@json_option
def status(config_file: Path | None, overrides: tuple[str, ...], router: str | None, as_json: bool) -> int:
    """Show who is in a running mesh and what they do."""
    found = trio.run(_ask, _address(router, config_file, overrides), ReadStatus())
    click.echo(msgspec.json.encode(found).decode() if as_json else "\n".join(_status_lines(found)))
    return DONE


@click.command()
@click.argument("counts", nargs=-1, required=True, metavar="ROLE=N...")
@config_option
@set_option
@router_option
def scale(counts: tuple[str, ...], config_file: Path | None, overrides: tuple[str, ...], router: str | None) -> int:
    """Change how many actors play a role, such as `verifier=4`; those too many finish what they hold."""
    wanted = [_parse_count(text) for text in counts]
    address = _address(router, config_file, overrides)
    for role_, count in wanted:
        scaled = trio.run(_ask, address, ScaleRole(scaled_role=role_, count=count))
        click.echo(f"{role_}: {scaled.before} -> {scaled.after}")
    return DONE


@click.command()
@config_option
@set_option
@router_option
def down(config_file: Path | None, overrides: tuple[str, ...], router: str | None) -> int:
    """Drain and end a running mesh."""
    address = _address(router, config_file, overrides)
    trio.run(_ask, address, StopMesh())
    click.echo(f"mesh at {address} is draining")
    return DONE


@click.command()
@click.argument("name", metavar="NAME")
@click.option(
    "--router", type=parse_address, envvar="GEMS_ROUTER", required=True, metavar="ADDRESS", help="Router to serve."
)
@config_option
@set_option
def role(name: str, router: str, config_file: Path | None, overrides: tuple[str, ...]) -> int:
    """Play one role in this process, for a mesh whose router runs elsewhere."""
    if name not in ROLES:
        raise click.UsageError(f"NAME: expected one of {', '.join(ROLES)}, came {name!r}")
    return run_role(name, read_config(config_file, overrides), router, f"{name}-{secrets.token_hex(3)}")


async def _up(config: MeshConfig) -> int:
    async with open_interrupts() as interrupts, open_supervisor(config) as supervisor:
        interrupts.on_hurry(supervisor.stop_now)
        async with open_background() as nursery:

            async def obey() -> None:
                await interrupts.asked.wait()
                supervisor.stop()

            async def announce() -> None:
                await supervisor.ready()
                count = len(supervisor.children())
                where = supervisor.address + (f" and {config.router.address}" if config.router.address else "")
                click.echo(f"mesh ready at {where}: {count} processes; stop with Ctrl-C or `gems down`")

            nursery.start_soon(obey)
            nursery.start_soon(announce)
            await supervisor.wait()
    return INTERRUPTED if interrupts.is_hurried else DONE


async def _ask(address: str, request: Request[ReplyT]) -> ReplyT:
    async with open_client(address, connect_within_s=_CONNECT_S) as mesh:
        with trio.move_on_after(_ANSWER_S):
            return await mesh.ask(request)
    raise DeadlineError(f"{address}: expected an answer of the {request.role} within {_ANSWER_S:g} s, came none")


def _address(router: str | None, config_file: Path | None, overrides: Sequence[str]) -> str:
    return router or read_config(config_file, overrides).local_address


def _parse_count(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"([a-z_]+)=(\d{1,5})", text)
    if match is None or match[1] not in ROLES or int(match[2]) > _MAX_ACTORS:
        raise click.UsageError(
            f"ROLE=N: expected one of {', '.join(ROLES)} and a number up to {_MAX_ACTORS}, came {text!r}"
        )
    return match[1], int(match[2])


def _status_lines(found: MeshStatus) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [("role", "actors", "busy", "queued", "oldest", "handled", "where")]
    order = {name: place for place, name in enumerate(ROLES)}
    for role_ in sorted(found.roles, key=lambda item: (order.get(item.role, len(order)), item.role)):
        rows.append(_status_row(role_))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    for row in rows:
        cells = [f"{row[0]:<{widths[0]}}", *(f"{row[column]:>{widths[column]}}" for column in range(1, 6)), row[6]]
        yield "  ".join(cells).rstrip()
    for actor in (actor for role_ in found.roles for actor in role_.actors):
        if said := actor.note or ", ".join(figure_in_words(*item) for item in actor.figures.items()):
            yield f"{actor.name}: {said}"
    requeued = f", {found.requeued} requests handed out again" if found.requeued else ""
    yield f"router up for {found.uptime_s:.0f} s, {found.clients} clients{requeued}"


def figure_in_words(name: str, value: float) -> str:
    """Return a figure with its unit, which its name ends in."""
    for ending, words in _UNITS.items():
        if name.endswith(ending):
            return words(name.removesuffix(ending).replace("_", " "), value)
    return f"{name.replace('_', ' ')} {value:,.4g}" if value < 10_000 else f"{name.replace('_', ' ')} {value:,.0f}"


def _status_row(status_: RoleStatus) -> tuple[str, ...]:
    actors = status_.actors
    oldest_s = max([status_.oldest_s, *(actor.oldest_s for actor in actors)])
    hosts: dict[str, list[str]] = {}
    for actor in actors:
        hosts.setdefault(actor.host or os.uname().nodename, []).append(str(actor.pid))
    return (
        status_.role,
        str(len(actors)),
        f"{sum(actor.busy for actor in actors)}/{sum(actor.capacity for actor in actors)}",
        str(status_.queued),
        f"{oldest_s:.1f} s" if oldest_s else "-",
        str(sum(actor.handled for actor in actors)),
        "; ".join(f"{host} {' '.join(pids)}" for host, pids in hosts.items()),
    )
