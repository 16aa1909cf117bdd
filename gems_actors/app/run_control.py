"""Lists the runs that this user's meshes and memories know, and pauses, resumes or cancels one of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec

from gems_actors.addresses import split_addresses
from gems_actors.app.bulk.folder_files import run_of
from gems_actors.app.memory.access import MemoryLocation, open_memory
from gems_actors.app.mesh_requests import ask_within, open_mesh
from gems_actors.app.picture_files import text_of_path
from gems_actors.app.run_registry import RegistryEntry, live_entries
from gems_actors.app.session import user_at_host
from gems_actors.config import MeshConfig, SecurityConfig
from gems_actors.errors import MeshUnavailableError, RequestError, UsageError
from gems_actors.run_states import RunStates
from gems_actors.tasks import gather
from protocol.identity import run_bytes
from protocol.messages import Control, Controlled, ControlRun, ListRuns, ListTrajectories, ReadStatus, RunSummary

SHORT_ID_DIGITS = 12
"""Digits of a trajectory's id in a list."""
_MAX_RUNS = 100
"""Latest runs listed of each memory; `gems memory runs` lists all."""
_MAX_NAMED = 3
_TRAJECTORY_ID = re.compile(r"[0-9a-f]{4,32}")

RunStatus = Literal["running", "paused", "cancelled", "unfinished", "ended"]


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """One run in the list."""

    run: str
    what: str
    state: RunStatus
    """State of the run; `unfinished` when no command on this host continues it."""
    done: int
    total: int | None
    failed: int
    began_at: float
    where: str
    """Output folder of the run, else the address of its mesh or the folder of its memory."""
    address: str | None
    """Address of its mesh, where one is running."""


@dataclass(frozen=True, slots=True)
class ControlTarget:
    """A run or one of its trajectories, and the mesh that controls it."""

    address: str
    run: str
    trajectory: str | None = None

    def __str__(self) -> str:
        """Return the name that errors and results show."""
        return self.run if self.trajectory is None else f"trajectory {self.trajectory[:SHORT_ID_DIGITS]} of {self.run}"


@dataclass(frozen=True, slots=True)
class _KnownRuns:
    """The runs that one mesh knows, or one memory that no mesh has open."""

    where: str
    address: str | None
    runs: tuple[RunSummary, ...]
    states: RunStates = field(default_factory=RunStates)


async def list_runs(config: MeshConfig, router: str | None, warn: Callable[[str], None]) -> list[RunRow]:
    """Return each run once: running ones first, then those that memory knows, latest first.

    Without a router, all meshes of this user on this host are asked, and the data_dir is read if no mesh has it open;
    `warn` gets a line for each mesh that answers with a failure.

    Raises:
        MeshUnavailableError: no router answers at `router`.
    """
    entries = _entries_of(router)
    if router is not None:
        known = [await _runs_of_mesh(router, config.security)]
    else:
        ask = partial(_runs_of_mesh_if_up, config.security, warn)
        asked = await gather(*(partial(ask, address) for address in _addresses(entries, config)))
        known = [found for found in asked if found is not None]
        location = MemoryLocation(config, None)
        if len(location.folders) == location.shards:
            async with open_memory(location) as memory:
                page = await memory.ask(ListRuns(limit=_MAX_RUNS))
                known.append(_KnownRuns(text_of_path(location.folders[0]), None, page.runs))
    return list(_rows(entries, known))


async def control_run(
    name: str, action: Control, config: MeshConfig, router: str | None
) -> tuple[ControlTarget, Controlled]:
    """Pause, resume or cancel the run or trajectory that `name` means; `find_target` says which.

    Raises:
        UsageError: the name means nothing, or several things.
        MeshUnavailableError: no router answers.
    """
    entries = _entries_of(router)
    addresses = _addresses(entries, config) if router is None else [router]
    target = await find_target(name, entries, addresses, config.security, must_answer=router is not None)
    async with open_mesh(target.address, config.security) as mesh:
        request = ControlRun(run=target.run, trajectory=target.trajectory, action=action, by=user_at_host())
        return target, await ask_within(mesh, request)


async def find_target(
    name: str,
    entries: Sequence[RegistryEntry],
    addresses: Sequence[str],
    security: SecurityConfig,
    *,
    must_answer: bool = False,
) -> ControlTarget:
    """Return what a name means: running runs before those of memory, and exact names before prefixes.

    A name is a run, the folder of a bulk, a trajectory, or the beginning of a run's or trajectory's name. The memories
    of the meshes at `addresses` are asked; one that does not answer is skipped unless it must.

    Raises:
        UsageError: the name means nothing, or several things.
        MeshUnavailableError: no router answers at an address that must answer.
    """
    names = {name, run_of(Path(name))}
    listed = [ControlTarget(entry.address, entry.run) for entry in entries if entry.run is not None]
    if exact := {target for target in listed if target.run in names}:
        return _only(name, exact)
    ask = partial(_targets_of_mesh, name, names, security, must_answer)
    asked = await gather(*(partial(ask, address) for address in addresses))
    meant = {*listed, *(target for targets in asked for target in targets)}
    if exact := {target for target in meant if target.trajectory == name or target.run in names}:
        whole_runs = {target for target in exact if target.trajectory is None}
        return _only(name, whole_runs or exact)
    return _only(name, {target for target in meant if (target.trajectory or target.run).startswith(name)})


def address_of(name: str) -> str:
    """Return the address of the mesh that a command of this user on this host uses for a run.

    `name` is a run, the beginning of its name, or the folder of a bulk.

    Raises:
        UsageError: no running command has it, or several have.
    """
    entries = [entry for entry in live_entries() if entry.run is not None]
    named = [entry for entry in entries if entry.run in {name, run_of(Path(name))}]
    named = named or [entry for entry in entries if entry.run is not None and entry.run.startswith(name)]
    if not named:
        hint = "; `gems bulk status DIR` shows one that has ended" if Path(name).is_dir() else ""
        raise UsageError(f"NAME: expected a running draw or bulk (`gems runs` lists them), got {name!r}{hint}")
    return _only(name, {ControlTarget(entry.address, entry.run or "") for entry in named}).address


def _entries_of(router: str | None) -> list[RegistryEntry]:
    """Return what is running on this host; where a router is named, only what is running in its mesh."""
    if router is None:
        return live_entries()
    named = {*split_addresses(router)}
    of_mesh = [entry for entry in live_entries() if named & {*split_addresses(entry.address)}]
    return [msgspec.structs.replace(entry, address=router) for entry in of_mesh]


def _addresses(entries: Sequence[RegistryEntry], config: MeshConfig) -> list[str]:
    """Return the addresses of the meshes that were started on this host, and of the configured one."""
    configured = [config.local_address] if (config.runtime_path / "router.ipc").exists() else []
    return list(dict.fromkeys([*(entry.address for entry in entries), *configured]))


async def _runs_of_mesh(address: str, security: SecurityConfig) -> _KnownRuns:
    async with open_mesh(address, security) as mesh:
        status = await ask_within(mesh, ReadStatus())
        page = await ask_within(mesh, ListRuns(limit=_MAX_RUNS))
    states = RunStates()
    states.merge(status.run_states)
    return _KnownRuns(address, address, page.runs, states)


async def _runs_of_mesh_if_up(security: SecurityConfig, warn: Callable[[str], None], address: str) -> _KnownRuns | None:
    try:
        return await _runs_of_mesh(address, security)
    except MeshUnavailableError:
        return None
    except RequestError as error:  # the other meshes can still be listed
        warn(str(error))
        return None


def _rows(entries: Sequence[RegistryEntry], known: Sequence[_KnownRuns]) -> Iterator[RunRow]:
    found = {(source.where, run.run): _row_of(source, run) for source in known for run in source.runs}
    shown = set()
    for entry in entries:
        if entry.run is not None:
            shown.add(entry.run)
            row = found.get((entry.address, entry.run))
            yield RunRow(
                run=entry.run,
                what=entry.what,
                state=row.state if row and row.state in ("paused", "cancelled") else "running",
                done=row.done if row else 0,
                total=entry.total,
                failed=row.failed if row else 0,
                began_at=entry.began_at,
                where=entry.folder or entry.address,
                address=entry.address,
            )
    for row in sorted(found.values(), key=lambda row: -row.began_at):
        if row.run not in shown:
            shown.add(row.run)
            yield row


def _row_of(source: _KnownRuns, run: RunSummary) -> RunRow:
    """Return the row of a run that no command on this host continues."""
    state: RunStatus = source.states.phase_of(run_bytes(run.run))
    if state == "running":
        is_complete = run.running == 0 and (run.total is None or run.ended + run.failed >= run.total)
        state = "ended" if is_complete else "unfinished"
    return RunRow(
        run=run.run,
        what=run.what,
        state=state,
        done=run.ended,
        total=run.total,
        failed=run.failed,
        began_at=run.began_at,
        where=source.where,
        address=source.address,
    )


def _only(name: str, targets: set[ControlTarget]) -> ControlTarget:
    if len(targets) == 1:
        return targets.pop()
    if not targets:
        expected = "a run, a trajectory or the DIR of a bulk that a running mesh knows (`gems runs` lists them)"
        raise UsageError(f"NAME: expected {expected}, got {name!r}")
    some = sorted(map(str, targets))
    more = f" and {len(some) - _MAX_NAMED} more" if len(some) > _MAX_NAMED else ""
    raise UsageError(f"NAME: expected one of {', '.join(some[:_MAX_NAMED])}{more}, got {name!r}")


async def _targets_of_mesh(
    name: str, names: set[str], security: SecurityConfig, must_answer: bool, address: str
) -> list[ControlTarget]:
    """Return what the memory of a mesh knows by one of some names, or by a name that begins with `name`."""
    try:
        async with open_mesh(address, security) as mesh:
            page = await ask_within(mesh, ListRuns())
            runs = [*page.runs]
            while page.next is not None:
                page = await ask_within(mesh, ListRuns(before=page.next))
                runs += page.runs
            found = [ControlTarget(address, run.run) for run in runs if run.run in names or run.run.startswith(name)]
            if _TRAJECTORY_ID.fullmatch(name):
                listed = await ask_within(mesh, ListTrajectories(prefix=name, limit=_MAX_NAMED + 1))
                found += [ControlTarget(address, item.run, item.trajectory) for item in listed.trajectories]
            return found
    except MeshUnavailableError:
        if must_answer:
            raise
        return []
