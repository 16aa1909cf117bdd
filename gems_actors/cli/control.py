"""`gems runs`, `pause`, `resume` and `cancel`: what goes on, and whether it shall."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import click
import msgspec
import trio

from gems_actors.addresses import split_addresses
from gems_actors.app.bulk.folder import run_of
from gems_actors.app.draw_progress import printable
from gems_actors.app.memory.access import Place, open_questions
from gems_actors.app.memory.render import ID_DIGITS, local_time, table
from gems_actors.app.options import read_config
from gems_actors.app.picture_files import encode_json, text_of_path
from gems_actors.app.run_registry import Entry, living
from gems_actors.app.session import user_in_words
from gems_actors.cli.exit_codes import DONE
from gems_actors.cli.options import config_option, json_option, router_option, set_option
from gems_actors.client import Mesh, open_client
from gems_actors.config import MeshConfig, SecurityConfig
from gems_actors.errors import DeadlineError, MeshUnavailableError, RequestError
from gems_actors.ops.log_setup import configure_logging
from gems_actors.run_states import RunStates
from gems_actors.tasks import gather
from protocol.identity import run_bytes
from protocol.messages import (
    Control,
    Controlled,
    ControlRun,
    ListRuns,
    ListTrajectories,
    ReadStatus,
    ReplyT,
    Request,
    RunSummary,
)

State = Literal["running", "paused", "cancelled", "unfinished", "ended"]
_CONNECT_S = 2.0
_ANSWER_S = 10.0
_RUNS_SHOWN = 100
"""Of each memory, the latest; `gems memory runs` lists all."""
_NAMES_SHOWN = 3
_TRAJECTORY_ID = re.compile(r"[0-9a-f]{4,32}")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One run in the list."""

    run: str
    what: str
    state: State
    """Unfinished: nobody on this host goes on with it."""
    done: int
    total: int | None
    failed: int
    began_at: float
    where: str
    """The folder that it fills, else the address of its mesh or the folder of its memory."""
    address: str | None
    """Of its mesh, where that runs."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What one mesh, or one memory that no mesh has open, knows of runs."""

    where: str
    address: str | None
    runs: tuple[RunSummary, ...]
    run_states: RunStates = field(default_factory=RunStates)


@dataclass(frozen=True, slots=True)
class _Target:
    """A run or one of its trajectories, and where it can be controlled."""

    address: str
    run: str
    trajectory: str | None = None

    def __str__(self) -> str:
        return self.run if self.trajectory is None else f"trajectory {self.trajectory[:ID_DIGITS]} of {self.run}"


@click.command()
@config_option
@set_option
@router_option
@json_option
def runs(config_file: Path | None, overrides: tuple[str, ...], router: str | None, as_json: bool) -> int:
    """List the runs of this user that go on now on this host, and the latest that memory knows.

    Without --router it is the memory of the configured data_dir, and of every mesh that was started here.
    """
    config = read_config(config_file, overrides)
    configure_logging(config.log, role="client")
    entries = _entries(router)
    found = trio.run(_look, _addresses(entries, config, router), config.security, None if router else config)
    rows = list(_rows(entries, found))
    if as_json:
        click.echo(encode_json(rows))
    elif rows:
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        for line in _lines(rows):
            click.echo(line if columns is None or len(line) <= columns else f"{line[: columns - 3]}...")
    else:
        click.echo("none", err=True)
    return DONE


def _control_command(action: Control, help_text: str) -> click.Command:
    @click.command(action, help=help_text)
    @click.argument("name", metavar="NAME")
    @config_option
    @set_option
    @router_option
    @json_option
    def control(
        name: str, config_file: Path | None, overrides: tuple[str, ...], router: str | None, as_json: bool
    ) -> int:
        config = read_config(config_file, overrides)
        configure_logging(config.log, role="client")
        entries = _entries(router)
        addresses = _addresses(entries, config, router)
        find = partial(_find, name, entries, addresses, config.security, is_named=router is not None)
        target, done = trio.run(_control, find, action, config.security)
        if as_json:
            place = {"run": target.run, "trajectory": target.trajectory, "address": target.address}
            click.echo(encode_json({**place, "action": action, **msgspec.to_builtins(done)}))
        else:
            click.echo(f"{target}: {_in_words(action, done)}")
        return DONE

    return control


_NAMES = "a run, the DIR of a bulk or a trajectory; of a run or a trajectory the beginning is enough"
pause = _control_command(
    "pause",
    f"Have NAME wait: {_NAMES}.\n\nWhat its actors have in hand ends and is kept; nothing more of it is begun until "
    "`gems resume NAME`, also where the mesh's router is replaced meanwhile.",
)
resume = _control_command(
    "resume", f"Let NAME go on: {_NAMES}.\n\nA run goes on with all of its trajectories; one that was cancelled may."
)
cancel = _control_command(
    "cancel",
    f"End NAME for now: {_NAMES}.\n\nWhat its actors have in hand is called off. A bulk ends with what is done, and "
    "the same command continues it; of a cancelled trajectory the task fails with class cancelled.",
)


# ------------------------------------------------------------------------------------------------------- looking


def _entries(router: str | None) -> list[Entry]:
    """Return what goes on here; where routers are named, in their mesh."""
    if router is None:
        return living()
    named = {*split_addresses(router)}
    of_mesh = [entry for entry in living() if named & {*split_addresses(entry.address)}]
    return [msgspec.structs.replace(entry, address=router) for entry in of_mesh]


def _addresses(entries: Sequence[Entry], config: MeshConfig, router: str | None) -> list[str]:
    """Return where to ask: at the router that is named, else at those that were started here and the configured one."""
    if router is not None:
        return [router]
    configured = [config.local_address] if (config.runtime_path / "router.ipc").exists() else []
    return list(dict.fromkeys([*(entry.address for entry in entries), *configured]))


async def _look(addresses: Sequence[str], security: SecurityConfig, config: MeshConfig | None) -> list[_Found]:
    """Ask every mesh at once, and the memory of a configuration where it has one; those that are gone are left out.

    Raises:
        MeshUnavailableError: the mesh that was named, without a configuration, is not there.
    """
    if config is None:
        return [await _look_at(address, security) for address in addresses]
    known = await gather(*(partial(_look_if_there, address, security) for address in addresses))
    found = [place for place in known if place is not None]
    place = Place(config, None)
    if len(place.folders) == place.shards:
        async with open_questions(place) as questions:
            page = await questions.ask(ListRuns(limit=_RUNS_SHOWN))
            found.append(_Found(text_of_path(place.folders[0]), None, page.runs))
    return found


async def _look_if_there(address: str, security: SecurityConfig) -> _Found | None:
    try:
        return await _look_at(address, security)
    except MeshUnavailableError:
        return None
    except RequestError as error:  # the others can be told of all the same
        click.echo(f"gems: {error}", err=True)
        return None


async def _look_at(address: str, security: SecurityConfig) -> _Found:
    async with open_client(address, connect_within_s=_CONNECT_S, security=security) as mesh:
        status = await _ask(mesh, ReadStatus())
        page = await _ask(mesh, ListRuns(limit=_RUNS_SHOWN))
    run_states = RunStates()
    run_states.merge(status.run_states)
    return _Found(address, address, page.runs, run_states)


def _rows(entries: Sequence[Entry], found: Sequence[_Found]) -> Iterator[Row]:
    """Yield each run once: those that go on, then those that memory knows, the latest first."""
    known = {(place.where, run.run): (place, run) for place in found for run in place.runs}
    shown = set()
    for entry in entries:
        if entry.run is not None:
            place, summary = known.get((entry.address, entry.run), (None, None))
            shown.add(entry.run)
            yield Row(
                run=entry.run,
                what=entry.what,
                state="running" if place is None else place.run_states.phase_of(run_bytes(entry.run)),
                done=summary.ended if summary else 0,
                total=entry.total,
                failed=summary.failed if summary else 0,
                began_at=entry.began_at,
                where=entry.folder or entry.address,
                address=entry.address,
            )
    for place, run in sorted(known.values(), key=lambda item: -item[1].began_at):
        if run.run not in shown:
            shown.add(run.run)
            state: State = place.run_states.phase_of(run_bytes(run.run))
            is_whole = run.running == 0 and (run.total is None or run.ended + run.failed >= run.total)
            yield Row(
                run=run.run,
                what=run.what,
                state=state if state != "running" else "ended" if is_whole else "unfinished",
                done=run.ended,
                total=run.total,
                failed=run.failed,
                began_at=run.began_at,
                where=place.where,
                address=place.address,
            )


def _lines(rows: Sequence[Row]) -> Iterator[str]:
    cells: list[tuple[str, ...]] = [("run", "state", "done", "failed", "began", "where", "what")]
    for row in rows:
        done = f"{row.done} of {row.total}" if row.total is not None else str(row.done)
        began = local_time(row.began_at)
        cells.append((row.run, row.state, done, str(row.failed), began, row.where, printable(row.what)))
    yield from table(cells, left=(0, 1, 4, 5, 6))


# ------------------------------------------------------------------------------------------------------- controlling


async def _control(
    find: Callable[[], Awaitable[_Target]], action: Control, security: SecurityConfig
) -> tuple[_Target, Controlled]:
    target = await find()
    async with open_client(target.address, connect_within_s=_CONNECT_S, security=security) as mesh:
        request = ControlRun(run=target.run, trajectory=target.trajectory, action=action, by=user_in_words())
        return target, await _ask(mesh, request)


async def _ask(mesh: Mesh, request: Request[ReplyT]) -> ReplyT:
    with trio.move_on_after(_ANSWER_S):
        return await mesh.ask(request)
    raise DeadlineError(f"{mesh.address}: expected an answer of the {request.role} within {_ANSWER_S:g} s, got none")


async def _find(
    name: str, entries: Sequence[Entry], addresses: Sequence[str], security: SecurityConfig, *, is_named: bool = False
) -> _Target:
    """Return what a name means: what goes on here before what a memory knows, and a whole name before a beginning.

    Raises:
        UsageError: it means nothing, or several things.
        MeshUnavailableError: none answers at the addresses, and they are what the user named.
    """
    names = {name, run_of(Path(name))}
    listed = [_Target(entry.address, entry.run) for entry in entries if entry.run is not None]
    if exact := {target for target in listed if target.run in names}:
        return _only(name, exact)
    asked = await gather(
        *(partial(_ask_for, name, names, address, security, is_named=is_named) for address in addresses)
    )
    meant = {*listed, *(target for targets in asked for target in targets)}
    if exact := {target for target in meant if target.trajectory == name or target.run in names}:
        whole_runs = {target for target in exact if target.trajectory is None}
        return _only(name, whole_runs or exact)
    begun = {target for target in meant if (target.trajectory or target.run).startswith(name)}
    return _only(name, begun)


def _only(name: str, targets: set[_Target]) -> _Target:
    if len(targets) == 1:
        (target,) = targets
        return target
    if not targets:
        raise click.UsageError(
            f"NAME: expected a run, a trajectory or the DIR of a bulk that a running mesh knows (`gems runs` lists "
            f"them), got {name!r}"
        )
    some = sorted(map(str, targets))
    more = f" and {len(some) - _NAMES_SHOWN} more" if len(some) > _NAMES_SHOWN else ""
    raise click.UsageError(f"NAME: expected one of {', '.join(some[:_NAMES_SHOWN])}{more}, got {name!r}")


async def _ask_for(
    name: str, names: set[str], address: str, security: SecurityConfig, *, is_named: bool
) -> list[_Target]:
    """Return what the memory of a mesh knows under a name or a beginning; nothing where one that we knew of is gone."""
    try:
        async with open_client(address, connect_within_s=_CONNECT_S, security=security) as mesh:
            return [*await _runs_of(mesh, name, names), *await _trajectories_of(mesh, name)]
    except MeshUnavailableError:
        if is_named:
            raise
        return []


async def _runs_of(mesh: Mesh, name: str, names: set[str]) -> list[_Target]:
    found, page = [], await _ask(mesh, ListRuns())
    while True:
        found += [run.run for run in page.runs if run.run in names or run.run.startswith(name)]
        if page.next is None:
            return [_Target(mesh.address, run) for run in found]
        page = await _ask(mesh, ListRuns(before=page.next))


async def _trajectories_of(mesh: Mesh, name: str) -> list[_Target]:
    if not _TRAJECTORY_ID.fullmatch(name):
        return []
    page = await _ask(mesh, ListTrajectories(prefix=name, limit=_NAMES_SHOWN + 1))
    return [_Target(mesh.address, found.run, found.trajectory) for found in page.trajectories]


def _in_words(action: Control, done: Controlled) -> str:
    was = "" if done.before == "running" else f" (it was {done.before})"
    waiting = f"{done.waiting} request{'' if done.waiting == 1 else 's'}"
    match action, done.before:
        case "pause", "cancelled":
            return "is cancelled, and stays so"
        case "pause", "paused":
            return f"is paused already, {waiting} wait"
        case "pause", _:
            return f"paused; {waiting} wait, {done.in_hand} are in hand"
        case "resume", "running":
            return "goes on; it was not paused"
        case "resume", _:
            return f"goes on{was}; {waiting} waited"
        case _, "cancelled":
            return "is cancelled already"
        case _:
            return f"cancelled{was}; {done.waiting + done.in_hand} requests called off"
