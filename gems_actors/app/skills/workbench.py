"""One mesh on which a command draws several bulks, with skills that are not in the user's folders."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from gems_actors.app import session
from gems_actors.app.bulk.folder_files import MESH_FOLDER
from gems_actors.app.bulk.interface import BulkOptions, BulkResult, BulkView
from gems_actors.app.bulk.run_spec import spec_of
from gems_actors.app.bulk.runner import run as run_bulk
from gems_actors.app.bulk.running.limits import Allowance
from gems_actors.app.bulk.running.servers import WAIT_S
from gems_actors.app.interrupts import Interrupts
from gems_actors.app.model_pairing import pairing_warnings
from gems_actors.app.options import DrawOptions
from gems_actors.app.picture_files import OutputError, check_writable
from gems_actors.client import Mesh
from gems_actors.config import RoleConfig
from gems_actors.errors import UsageError
from gems_actors.files import reason_of

SKILLS_FOLDER = "skills"
"""Folder, in that of the command, with the skills that only this mesh offers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """Where a workbench is, and how it draws."""

    folder: Path
    """Folder of the command: memory and pictures lie in its `.mesh`, its own skills in `skills`."""
    options: DrawOptions
    """How to draw; with a `router`, that mesh draws and its planner must know the skills."""
    wait_for_servers_s: float = WAIT_S
    """Seconds to wait for model servers, as in `BulkOptions`."""
    redirects_stderr: bool = False
    """Whether standard error goes to the mesh's log."""

    @property
    def draw_options(self) -> DrawOptions:
        """The options with which this bench draws: pictures and memory in its folder, its own skills the last."""
        if self.options.router is not None:
            return self.options
        config = self.options.read_config()
        folders = [*config.skills.folders, str((self.folder / SKILLS_FOLDER).absolute())]
        own = {"data_dir": str((self.folder / MESH_FOLDER).absolute()), "skills.folders": folders}
        settings = (f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in own.items())
        return replace(self.options, overrides=(*self.options.overrides, *settings))


@dataclass(frozen=True, slots=True)
class Workbench:
    """A mesh that is ready; made by `open_workbench`."""

    bench: BenchOptions
    mesh: Mesh
    router: str
    interrupts: Interrupts

    async def draw(
        self,
        file: Path,
        out: Path,
        options: DrawOptions,
        *,
        samples: int,
        view: BulkView,
        allowance: Allowance | None = None,
    ) -> BulkResult:
        """Draw a file of prompts into a folder, as `gems bulk` does; what is there already is not drawn again.

        Args:
            file: the prompts.
            out: folder to fill.
            options: those of the bench, with what differs for this bulk.
            samples: pictures for each prompt.
            view: shows the bulk.
            allowance: what pictures may cost now. With one, failed.jsonl keeps the failures of all calls, as costs.

        Raises:
            GemsError: as `bulk.run`.
        """
        spec = spec_of(file, options, samples=samples)
        bulk = BulkOptions(
            spec=spec,
            file=file,
            out=out,
            router=self.router,
            allowance=allowance or Allowance(),
            keeps_failures=allowance is not None,
            wait_for_servers_s=self.bench.wait_for_servers_s,
        )
        return await run_bulk(bulk, view, self.interrupts)


@asynccontextmanager
async def open_workbench(
    bench: BenchOptions, interrupts: Interrupts, view: BulkView, *, roles: Sequence[str] = ()
) -> AsyncIterator[Workbench]:
    """Start a mesh whose memory is in the folder, or connect to the one that the options name.

    Args:
        bench: the folder and how to draw.
        interrupts: signals of the command; the first ends its bulk gracefully.
        view: shows warnings.
        roles: optional roles that the mesh needs; one that runs elsewhere must have them.

    Raises:
        UsageError: the folder cannot be written to.
        GemsError: the mesh failed.
    """
    options = bench.draw_options
    config = options.read_config()
    mesh_folder = bench.folder / MESH_FOLDER
    try:
        check_writable(bench.folder)
        mesh_folder.mkdir(mode=0o770 if config.access == "group" else 0o700, exist_ok=True)
        (bench.folder / SKILLS_FOLDER).mkdir(exist_ok=True)
    except (OSError, OutputError) as error:
        raise UsageError(f"--out: {reason_of(error)}") from error
    if options.router is None:
        for warning in pairing_warnings(config):
            view.say(f"gems: {warning}")
    log = mesh_folder / session.LOG_NAME
    with session.open_session(config, options.router, redirects_stderr=bench.redirects_stderr, log=log) as opened:
        started = {name: config.roles.get(name, RoleConfig()) for name in roles}
        with_roles = msgspec.structs.replace(opened, roles={**opened.roles, **started})
        async with session.start_or_connect(with_roles, options.router, interrupts) as connection:
            yield Workbench(bench, connection.mesh, connection.mesh.address, interrupts)
