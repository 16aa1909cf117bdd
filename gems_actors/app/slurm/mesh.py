"""Starts, scales and stops a mesh on a Slurm cluster from its folder of batch files."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from gems_actors.app.mesh_requests import ask_within, open_mesh
from gems_actors.app.slurm import jobs
from gems_actors.app.slurm.batch_files import ADDRESS_NAME, HEAD, SUFFIX
from gems_actors.app.slurm.jobs import SlurmTask, live_tasks, submit
from gems_actors.app.slurm.rendezvous import address_of, read_rendezvous
from gems_actors.config import load_config
from gems_actors.errors import DeadlineError, MeshUnavailableError, UsageError
from protocol.messages import MeshStatus, ReadStatus

_MIN_POLL_S = 0.5
_MAX_POLL_S = 10.0
"""A head may wait for a node for days, and Slurm's controller serves others, too."""
_REACH_S = 60.0
"""Time for which a running head is tried from this host before its groups are started without an answer."""
_DRAIN_S = 120.0
"""Time that tasks have to drain before Slurm cancels them."""


def check_is_mesh(folder: Path) -> None:
    """Check that a folder belongs to a mesh; if its batch files were removed, it may still have jobs.

    Raises:
        UsageError: the folder has neither batch files nor jobs.
    """
    if not any((folder / name).exists() for name in (f"{HEAD}{SUFFIX}", jobs.JOBS_NAME)):
        raise UsageError(f"DIR: expected {HEAD}{SUFFIX} of `gems slurm render` in {folder}, got none")


def batch_names(folder: Path) -> list[str]:
    """Return the names of the batch files without their suffix: the head, then the groups.

    Raises:
        UsageError: the folder has no batch file of a head.
    """
    if not (folder / f"{HEAD}{SUFFIX}").exists():
        raise UsageError(f"DIR: expected {HEAD}{SUFFIX} of `gems slurm render` in {folder}, got none")
    groups = sorted(path.stem for path in folder.glob(f"*{SUFFIX}"))
    return [HEAD, *(name for name in groups if name != HEAD)]


def start_mesh(folder: Path, on_job: Callable[[str, int], None], warn: Callable[[str], None]) -> str:
    """Submit the head and, once its router answers, the groups; return the router's address.

    Batch files that have live jobs are skipped, so that a second call submits only what ended. `on_job` gets name and
    number of each submitted job, `warn` a line about each delay.

    Raises:
        SlurmError: the head ended, or Slurm does not work.
    """
    names = batch_names(folder)
    live = {task.name for task in live_tasks(folder)}
    if not live:
        jobs.forget_jobs(folder)
    if HEAD not in live:
        (folder / ADDRESS_NAME).unlink(missing_ok=True)
        on_job(HEAD, submit(folder, HEAD))
    address = _await_head(folder, warn)
    for name in names:
        if name != HEAD and name not in live:
            on_job(name, submit(folder, name))
    return address


def scale_group(folder: Path, name: str, count: int) -> int:
    """Change the number of agents of a group and return the number before; surplus agents are drained.

    Raises:
        SlurmError: Slurm does not work.
    """
    tasks = [task for task in live_tasks(folder) if task.name == name and not task.is_completing]
    tasks.sort(key=lambda task: (task.is_pending, task.index or 0))
    _drain(folder, tasks[count:])
    taken = {task.index for task in tasks}
    free = (index for index in itertools.count() if index not in taken)
    if more := [str(next(free)) for _ in range(count - len(tasks))]:
        submit(folder, name, f"--array={','.join(more)}")
    return len(tasks)


def stop_mesh(folder: Path, drain_s: float = _DRAIN_S) -> int:
    """Drain the agents and then the head, end their jobs for good, and return the number of ended tasks.

    Tasks that take longer than `drain_s` to drain are cancelled.

    Raises:
        SlurmError: Slurm does not work.
    """
    tasks = live_tasks(folder)
    _drain(folder, [task for task in tasks if task.name != HEAD], drain_s)
    _drain(folder, [task for task in tasks if task.name == HEAD], drain_s)
    (folder / ADDRESS_NAME).unlink(missing_ok=True)
    return len(tasks)


async def read_status(address: str) -> MeshStatus:
    """Return the status of the mesh at an address, with the keys that the environment names.

    Raises:
        MeshUnavailableError, DeadlineError: the router does not answer.
    """
    async with open_mesh(address, load_config().security) as mesh:
        return await ask_within(mesh, ReadStatus())


def _await_head(folder: Path, warn: Callable[[str], None]) -> str:
    """Return the router's address once it answers, or after 60 s without an answer from a running head."""
    warned, poll_s = "", _MIN_POLL_S
    running_since: float | None = None
    while True:
        head = next((task for task in live_tasks(folder) if task.name == HEAD), None)
        if head is None:
            log = folder / f"{HEAD}.log"
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            last = f"{log} ends with: {lines[-1]}" if lines else f"{log} is empty"
            raise jobs.SlurmError(f"{HEAD}: expected a job that runs, got one that ended; {last}")
        if head.is_pending and head.reason not in (warned, "None"):
            warned = head.reason
            warn(f"{HEAD}: waits for a node ({warned})")
        line = read_rendezvous(folder / ADDRESS_NAME)
        if f" job {head.job} " in line:
            running_since = running_since or time.monotonic()
            try:
                trio.run(read_status, address_of(line))
            except (MeshUnavailableError, DeadlineError) as error:
                if time.monotonic() < running_since + _REACH_S:
                    continue
                warn(f"{error}; its agents may still reach it")
            return address_of(line)
        time.sleep(poll_s)
        poll_s = min(1.2 * poll_s, _MAX_POLL_S)


def _drain(folder: Path, tasks: Sequence[SlurmTask], drain_s: float = _DRAIN_S) -> None:
    """Stop tasks for good and return when Slurm lists none of them any more.

    After the time limit, completing tasks count as ended: if their node is gone, they stay completing.
    """
    for task in sorted(tasks, key=lambda task: not task.is_pending):  # pending ones must not take the freed nodes
        jobs.end_task(task, gracefully=True)
    ids = {task.id for task in tasks}
    deadline = time.monotonic() + drain_s
    while left := [task for task in live_tasks(folder) if task.id in ids]:
        is_overdue = time.monotonic() > deadline
        if is_overdue and all(task.is_completing for task in left):
            return
        for task in left:
            if is_overdue or task.is_pending:  # pending again: it was requeued just before it was told to drain
                jobs.end_task(task, gracefully=False)
        time.sleep(_MIN_POLL_S)
