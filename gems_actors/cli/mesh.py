"""`gems up`, `agent`, `status`, `scale`, `down` and `role`: a mesh that outlives one command."""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import click
import msgspec
import trio

from gems_actors.addresses import join_addresses, split_addresses
from gems_actors.app.interrupts import Interrupts, open_interrupts
from gems_actors.app.options import read_config
from gems_actors.app.run_registry import RegistryEntry, registered
from gems_actors.app.slurm.rendezvous import await_router
from gems_actors.cli.exit_codes import DONE, INTERRUPTED, QUEUE_AGAIN
from gems_actors.cli.options import config_option, json_option, router_option, set_option
from gems_actors.cli.terminal.mesh_status import missing_roles, status_lines
from gems_actors.client import Mesh, open_client
from gems_actors.config import MeshConfig, SecurityConfig
from gems_actors.errors import DeadlineError, SupervisorError
from gems_actors.ops.log_setup import configure_logging
from gems_actors.ops.prometheus import metrics_text
from gems_actors.shards import shard_of_role
from gems_actors.supervision.child_main import run_role
from gems_actors.supervision.runtime_dir import claim_runtime_dir
from gems_actors.supervision.service import open_service
from gems_actors.supervision.supervisor import open_agent, open_supervisor
from gems_actors.tasks import open_background
from protocol.identity import agent_role, is_agent_role
from protocol.messages import ReadStatus, ReplyT, Request, ScaleRole, StopMesh

_CONNECT_S = 2.0
_ANSWER_S = 10.0
_MAX_ACTORS = 4096


host_option = click.option("--host", metavar="NAME", help="The agent of this name, in place of the mesh's own host.")


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False, metavar="[mesh.toml]")
@set_option
def up(file: Path | None, overrides: tuple[str, ...]) -> int:
    """Run a mesh in the foreground, with the settings of a TOML file or the embedded ones.

    Ctrl-C or SIGTERM once drains it, twice kills it. In a job of Slurm, SIGTERM ends it with exit code 75, to be queued
    again.
    """
    config = read_config(file, overrides)
    configure_logging(config.log, role="supervisor")
    return trio.run(_up, config)


@click.command()
@click.option(
    "--check", metavar="ROLE[,ROLE]...", help="Exit 1 unless each of these roles takes requests, as a health check."
)
@click.option("--prometheus", "as_metrics", is_flag=True, help="Print Prometheus's text format.")
@json_option
@config_option
@set_option
@router_option
def status(
    check: str | None,
    as_metrics: bool,
    as_json: bool,
    config_file: Path | None,
    overrides: tuple[str, ...],
    router: str | None,
) -> int:
    """Show who is in a running mesh and what they do."""
    wanted = check.split(",") if check is not None else []
    if sum([bool(wanted), as_metrics, as_json]) > 1:
        raise click.UsageError("--check: expected one of --check, --prometheus and --json, got several")
    config = read_config(config_file, overrides)
    for role_ in wanted:
        if role_ not in config.role_specs and not shard_of_role(role_):
            raise click.UsageError(f"--check: expected some of {', '.join(config.role_specs)}, got {role_!r}")
    found = trio.run(_ask, router or config.local_address, config.security, ReadStatus())
    if missing := missing_roles(found, wanted):
        raise click.ClickException(f"expected an actor that takes requests for each role, got none for {missing}")
    if as_metrics:
        click.echo(metrics_text(found), nl=False)
    elif as_json:
        click.echo(msgspec.json.encode(found).decode())
    elif not wanted:
        click.echo("\n".join(status_lines(found)))
    return DONE


@click.command()
@click.argument("counts", nargs=-1, required=True, metavar="ROLE=N...")
@host_option
@config_option
@set_option
@router_option
def scale(
    counts: tuple[str, ...],
    host: str | None,
    config_file: Path | None,
    overrides: tuple[str, ...],
    router: str | None,
) -> int:
    """Change how many actors of a host play a role, such as `verifier=4`; those too many finish what they hold."""
    config = read_config(config_file, overrides)
    address = router or config.local_address
    for role_, count in [_parse_count(config, text) for text in counts]:
        scaled = trio.run(_ask, address, config.security, ScaleRole(scaled_role=role_, count=count), host)
        click.echo(f"{role_}: {scaled.before} -> {scaled.after}")
    return DONE


@click.command()
@host_option
@config_option
@set_option
@router_option
def down(host: str | None, config_file: Path | None, overrides: tuple[str, ...], router: str | None) -> int:
    """Drain and end a running mesh, or what one agent has started for it."""
    address, security = _place(router, config_file, overrides)
    trio.run(_ask, address, security, StopMesh(), host)
    click.echo(f"mesh at {address} is draining" if host is None else f"agent {host} is draining")
    return DONE


@click.command()
@click.argument("name", metavar="NAME")
@router_option
@config_option
@set_option
def role(name: str, router: str | None, config_file: Path | None, overrides: tuple[str, ...]) -> int:
    """Play one role in this process, for a mesh whose router runs elsewhere.

    `router` is a role too, and so is each shard of memory, such as `memory_1`.
    """
    config = read_config(config_file, overrides)
    if name not in (*config.role_specs, "router") and not shard_of_role(name):
        raise click.UsageError(f"NAME: expected one of {', '.join(config.role_specs)} or router, got {name!r}")
    if name == "router":
        with claim_runtime_dir(config):
            return run_role(name, config, config.router_addresses[0], name)
    if router is None:
        raise click.UsageError(f"--router: expected the address of the router that the {name} shall serve, got none")
    return run_role(name, config, router, f"{name}-{secrets.token_hex(3)}")


@click.command()
@click.argument("counts", nargs=-1, required=True, metavar="ROLE=N...")
@router_option
@click.option(
    "--router-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where a router writes its address; before --router.",
)
@click.option("--name", metavar="NAME", help="What the mesh calls this host (its host name).")
@config_option
@set_option
def agent(
    counts: tuple[str, ...],
    router: str | None,
    router_file: Path | None,
    name: str | None,
    config_file: Path | None,
    overrides: tuple[str, ...],
) -> int:
    """Play roles on this host, such as `verifier=8 generator=1`, for a mesh whose router runs elsewhere.

    They are kept alive, and wait for a router that is away; one that FILE names anew is followed. `gems scale --host
    NAME` changes how many there are. Ctrl-C or SIGTERM once drains them, twice kills them. In a job of Slurm, SIGTERM
    ends them with exit code 75, to be queued again.
    """
    if router is None and router_file is None:
        raise click.UsageError("--router: expected it or --router-file, got neither")
    config = read_config(config_file, overrides)
    config = _with_counts(config, dict(_parse_count(config, text) for text in counts))
    configure_logging(config.log, role="agent")
    return trio.run(_run_agent, config, router, router_file, name or socket.gethostname())


def _with_counts(config: MeshConfig, counts: Mapping[str, int]) -> MeshConfig:
    """Return the settings with so many of each role, and none of those that are not named, whatever waits for them."""
    roles = {}
    for role_, settings in config.roles.items():
        if count := counts.get(role_, 0):
            roles[role_] = msgspec.structs.replace(settings, count=count)
        else:
            roles[role_] = msgspec.structs.replace(settings, count=0, min=None, max=None)
    return msgspec.structs.replace(config, roles=roles)


async def _run_agent(config: MeshConfig, router: str | None, router_file: Path | None, name: str) -> int:
    async with open_interrupts() as interrupts, open_background() as nursery:
        life = trio.CancelScope()

        async def obey() -> None:
            await interrupts.asked.wait()
            life.cancel()

        nursery.start_soon(obey)
        with life:
            if router_file is not None:
                await _follow_router(config, router_file, name, interrupts)
            elif router is not None:
                await _serve_agent(config, router, name, interrupts)
    return _ending_of(interrupts)


async def _follow_router(config: MeshConfig, router_file: Path, name: str, interrupts: Interrupts) -> None:
    """Serve the router that a file names, and another one once the file names that, until asked to end."""
    is_over = False
    while not is_over:
        address = await await_router(router_file)
        async with open_background() as nursery:

            async def leave_when_moved(known: str, here: trio.CancelScope) -> None:
                await await_router(router_file, other_than=known)
                here.cancel()

            nursery.start_soon(leave_when_moved, address, nursery.cancel_scope)
            await _serve_agent(config, address, name, interrupts)
            is_over = True


async def _serve_agent(config: MeshConfig, router: str, name: str, interrupts: Interrupts) -> None:
    click.echo(f"agent {name} joins {router}", err=True)
    async with open_agent(config, router, name) as agent_, open_service(agent_, config.metrics):
        interrupts.on_hurry(agent_.stop_now)
        with suppress(SupervisorError):  # `wait` says it, and returns where the agent was only asked to end
            await agent_.ready()
            click.echo(f"agent {name} ready: {len(agent_.children())} processes; stop with Ctrl-C")
        await agent_.wait()


async def _up(config: MeshConfig) -> int:
    async with open_interrupts() as interrupts, open_supervisor(config) as supervisor:
        interrupts.on_hurry(supervisor.stop_now)
        async with open_service(supervisor, config.metrics), open_background() as nursery:

            async def obey() -> None:
                await interrupts.asked.wait()
                supervisor.stop()

            async def announce() -> None:
                await supervisor.ready()
                count = len(supervisor.children())
                where = " and ".join(split_addresses(join_addresses(config.router_addresses)))
                click.echo(f"mesh ready at {where}: {count} processes; stop with Ctrl-C or `gems down`")

            nursery.start_soon(obey)
            nursery.start_soon(announce)
            with registered(RegistryEntry(address=supervisor.address)):
                await supervisor.wait()
    return _ending_of(interrupts)


def _ending_of(interrupts: Interrupts) -> int:
    if interrupts.is_by_term and "SLURM_JOB_ID" in os.environ:
        return QUEUE_AGAIN
    return INTERRUPTED if interrupts.is_hurried else DONE


async def _ask(address: str, security: SecurityConfig, request: Request[ReplyT], host: str | None = None) -> ReplyT:
    """Return the answer of a role, or of the agent of a host in place of the supervisor."""
    async with open_client(address, connect_within_s=_CONNECT_S, security=security) as mesh:
        who, role_ = request.role, None
        if host is not None:
            who, role_ = f"agent {host}", agent_role(host)
            await _check_agent(mesh, host)
        with trio.move_on_after(_ANSWER_S):
            return await mesh.ask(request, role=role_)
    raise DeadlineError(f"{address}: expected an answer of the {who} within {_ANSWER_S:g} s, got none")


async def _check_agent(mesh: Mesh, host: str) -> None:
    status_ = await mesh.ask(ReadStatus())
    agents = [actor.name for role_ in status_.roles if is_agent_role(role_.role) for actor in role_.actors]
    if host not in agents:
        known = ", ".join(sorted(agents)) or "none, for no agent has joined"
        raise click.UsageError(f"--host: expected one of {known}, got {host!r}")


def _place(router: str | None, config_file: Path | None, overrides: Sequence[str]) -> tuple[str, SecurityConfig]:
    """Return where a mesh is, and our keys for it."""
    config = read_config(config_file, overrides)
    return router or config.local_address, config.security


def _parse_count(config: MeshConfig, text: str) -> tuple[str, int]:
    match = re.fullmatch(r"([a-z0-9_]+)=(\d{1,5})", text)
    if match is None or match[1] not in config.role_specs or int(match[2]) > _MAX_ACTORS:
        raise click.UsageError(
            f"ROLE=N: expected one of {', '.join(config.role_specs)} and a number up to {_MAX_ACTORS}, got {text!r}"
        )
    return match[1], int(match[2])
