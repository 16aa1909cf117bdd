"""`gems up`, `agent`, `status`, `scale`, `down` and `role`: run a mesh, and control one that is running."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

import click
import trio

from gems_actors.addresses import join_addresses, split_addresses
from gems_actors.app.hosting import config_of_agent, host_agent, host_mesh, parse_role_counts
from gems_actors.app.interrupts import Interrupts, open_interrupts
from gems_actors.app.mesh_requests import ask_mesh
from gems_actors.app.options import parse_listen_address
from gems_actors.app.picture_files import encode_json
from gems_actors.app.run_control import address_of
from gems_actors.app.slurm.rendezvous import read_rendezvous
from gems_actors.cli.exit_codes import DONE, INTERRUPTED, QUEUE_AGAIN
from gems_actors.cli.options import (
    config_option,
    config_options,
    json_option,
    parsed_by,
    path_option,
    preset_option,
    read_settings,
    router_option,
    set_option,
)
from gems_actors.cli.terminal.desktop import open_on_desktop
from gems_actors.cli.terminal.mesh_status import missing_roles, status_lines
from gems_actors.cli.terminal.tables import counted
from gems_actors.config import MeshConfig, with_installed_roles
from gems_actors.ops.log_setup import configure_logging
from gems_actors.ops.prometheus import metrics_text
from gems_actors.shards import shard_of_role
from gems_actors.supervision.child_main import run_role
from gems_actors.supervision.runtime_dir import claim_runtime_dir
from protocol.messages import ReadStatus, ScaleRole, StopMesh

GATEWAY_ADDRESS = "127.0.0.1:8484"
host_option = click.option("--host", metavar="NAME", help="Name of an agent to act on instead of the router's host.")


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False, metavar="[mesh.toml]")
@click.option(
    "--gateway",
    is_flag=False,
    flag_value=GATEWAY_ADDRESS,
    type=parsed_by(parse_listen_address),
    metavar="[HOST:PORT]",
    help=f"Serve HTTP, at {GATEWAY_ADDRESS} unless given.",
)
@click.option("--open", "opens", is_flag=True, help="Open the gateway's page in the browser, or print its address.")
@preset_option
@config_option
@set_option
def up(
    file: Path | None,
    config_file: Path | None,
    gateway: str | None,
    opens: bool,
    preset: str | None,
    overrides: tuple[str, ...],
) -> int:
    """Run a mesh in the foreground, with the settings of a TOML file or the defaults.

    The first Ctrl-C or SIGTERM drains it, the second kills it. In a Slurm job, SIGTERM ends it with exit code 75, so
    that the job is requeued.
    """
    if file is not None and config_file is not None:
        raise click.UsageError("--config: expected either it or [mesh.toml], got both")
    file = file or config_file
    config = read_settings(file, overrides if gateway is None else (*overrides, f"gateway.address={gateway}"), preset)
    if opens and config.gateway.address is None:
        config = read_settings(file, (*overrides, f"gateway.address={GATEWAY_ADDRESS}"), preset)
    configure_logging(config.log, role="supervisor")
    return trio.run(_up, config, opens)


@click.command()
@click.argument("name", required=False, metavar="[NAME]")
@click.option(
    "--check", metavar="ROLE[,ROLE]...", help="Exit with 1 unless each of these roles is ready; a health check."
)
@click.option("--prometheus", "as_metrics", is_flag=True, help="Print the Prometheus text format.")
@json_option
@config_options
@router_option
def status(
    name: str | None, check: str | None, as_metrics: bool, as_json: bool, config: MeshConfig, router: str | None
) -> int:
    """Show the roles and actors of a running mesh.

    NAME, a run or the DIR of a bulk, selects the mesh of that run; the default is that of --router or of the settings.
    """
    if name is not None:
        router = address_of(name)
    wanted = check.split(",") if check is not None else []
    if sum([bool(wanted), as_metrics, as_json]) > 1:
        raise click.UsageError("--check: expected only one of --check, --prometheus and --json, got several")
    config = with_installed_roles(config, wanted)
    for role_ in wanted:
        if role_ not in config.role_specs and not shard_of_role(role_):
            known = f"{', '.join(config.role_specs)} (or a role of your own, with --config)"
            raise click.UsageError(f"--check: expected some of {known}, got {role_!r}")
    found = trio.run(ask_mesh, router or config.local_address, config.security, ReadStatus())
    if missing := missing_roles(found, wanted):
        raise click.ClickException(f"expected a ready actor of each role, got none for {missing}")
    if as_metrics:
        click.echo(metrics_text(found), nl=False)
    elif as_json:
        click.echo(encode_json(found))
    elif not wanted:
        click.echo("\n".join(status_lines(found)))
    return DONE


@click.command()
@click.argument("counts", nargs=-1, required=True, metavar="ROLE=N...")
@host_option
@config_options
@router_option
def scale(counts: tuple[str, ...], host: str | None, config: MeshConfig, router: str | None) -> int:
    """Change the number of actors of a role, such as `verifier=4`; surplus actors are drained."""
    address = router or config.local_address
    config = with_installed_roles(config, (text.partition("=")[0] for text in counts))
    for role_, count in parse_role_counts(config, counts).items():
        scaled = trio.run(ask_mesh, address, config.security, ScaleRole(scaled_role=role_, count=count), host)
        click.echo(f"{role_}: {scaled.before} -> {scaled.after}")
    return DONE


@click.command()
@host_option
@config_options
@router_option
def down(host: str | None, config: MeshConfig, router: str | None) -> int:
    """Drain and stop a running mesh, or the roles of one agent."""
    address = router or config.local_address
    trio.run(ask_mesh, address, config.security, StopMesh(), host)
    click.echo(f"mesh at {address} is draining" if host is None else f"agent {host} is draining")
    return DONE


@click.command()
@click.argument("name", metavar="NAME")
@router_option
@config_options
def role(name: str, router: str | None, config: MeshConfig) -> int:
    """Run one role in this process, for a mesh whose router runs elsewhere.

    NAME may also be `router`, or a shard of memory such as `memory_1`.
    """
    config = with_installed_roles(config, [name])
    if name not in (*config.role_specs, "router") and not shard_of_role(name):
        known = f"{', '.join(config.role_specs)}, router (or a role of your own, with --config)"
        raise click.UsageError(f"NAME: expected one of {known}, got {name!r}")
    if name == "router":
        with claim_runtime_dir(config):
            return run_role(name, config, config.router_addresses[0], name)
    if router is None:
        raise click.UsageError(f"--router: expected the address of the router for the {name}, got none")
    return run_role(name, config, router, f"{name}-{secrets.token_hex(3)}")


@click.command()
@click.argument("counts", nargs=-1, required=True, metavar="ROLE=N...")
@router_option
@path_option("--router-file", metavar="FILE", help_text="File with the router's address; overrides --router.")
@click.option("--name", metavar="NAME", help="Name of this host in the mesh (default: its host name).")
@config_options
def agent(
    counts: tuple[str, ...], router: str | None, router_file: Path | None, name: str | None, config: MeshConfig
) -> int:
    """Run roles on this host, such as `verifier=8 generator=1`, for a mesh whose router runs elsewhere.

    Actors that end are restarted. While the router is away they wait for it, and they follow it when FILE names another
    address. `gems scale --host NAME` changes their number. The first Ctrl-C or SIGTERM drains them, the second kills
    them. In a Slurm job, SIGTERM ends them with exit code 75, so that the job is requeued.
    """
    if (source := router_file or router) is None:
        raise click.UsageError("--router: expected --router or --router-file, got neither")
    config = with_installed_roles(config, (text.partition("=")[0] for text in counts))
    config = config_of_agent(config, parse_role_counts(config, counts))
    configure_logging(config.log, role="agent")
    name = name or socket.gethostname()
    if router_file is not None and not read_rendezvous(router_file):
        click.echo(f"agent {name} waits for {router_file}", err=True)
    return trio.run(_run_agent, config, source, name)


async def _run_agent(config: MeshConfig, router: str | Path, name: str) -> int:
    async with open_interrupts() as interrupts:
        await host_agent(
            config, router, name, interrupts,
            on_join=lambda address: click.echo(f"agent {name} joins {address} once it answers", err=True),
            on_ready=lambda count: click.echo(f"agent {name} ready: {counted(count, 'process')}; stop with Ctrl-C"),
        )  # fmt: skip
    return _exit_code_of(interrupts)


async def _up(config: MeshConfig, opens: bool) -> int:
    ready = f"mesh ready at {' and '.join(split_addresses(join_addresses(config.router_addresses)))}"
    if config.gateway.address is not None:
        ready += f", and at {config.gateway.url}"
    how = "stop with Ctrl-C or `gems down`"

    def tell(count: int) -> None:
        click.echo(f"{ready}: {count} processes; {how}")
        if opens and not open_on_desktop(config.gateway.local_url):
            click.echo(f"open {config.gateway.local_url} in a browser")

    async with open_interrupts() as interrupts:
        await host_mesh(config, interrupts, tell)
    return _exit_code_of(interrupts)


def _exit_code_of(interrupts: Interrupts) -> int:
    if interrupts.is_by_term and "SLURM_JOB_ID" in os.environ:
        return QUEUE_AGAIN
    return INTERRUPTED if interrupts.is_hurried else DONE
