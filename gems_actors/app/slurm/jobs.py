"""The jobs of a mesh on a Slurm cluster: submits, lists and ends them with Slurm's own commands.

A small file next to the batch files holds the numbers of the submitted jobs, so that commands on every host know them.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gems_actors.app.picture_files import write_whole
from gems_actors.app.slurm.batch_files import HEAD, SUFFIX
from gems_actors.errors import GemsError
from gems_actors.files import reason_of

JOBS_NAME = "jobs.json"
_COMMAND_S = 60.0
_FORMAT = "%A|%F|%K|%T|%N|%r"
"""Fields of squeue: job, array, index in the array, state, nodes, and the reason for which a job is pending."""


class SlurmError(GemsError):
    """A command of Slurm failed, or a job ended early; the message contains Slurm's own."""


class SubmittedJobs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Numbers of the jobs that were submitted for a mesh, by the name of their batch file; an array is one job."""

    submitted: dict[str, tuple[int, ...]] = {}


@dataclass(frozen=True, slots=True)
class SlurmTask:
    """A job, or one task of a job array, that Slurm still lists."""

    name: str
    """Name of its batch file."""
    job: int
    array: int
    """Number of the job array, or of the job itself."""
    index: int | None
    state: str
    """State as Slurm names it, such as `RUNNING`."""
    nodes: str
    reason: str

    @property
    def id(self) -> str:
        """Its name in Slurm's commands."""
        return str(self.array) if self.index is None else f"{self.array}_{self.index}"

    @property
    def is_pending(self) -> bool:
        """It waits for nodes, for the first time or after it was requeued."""
        return self.state == "PENDING"

    @property
    def is_completing(self) -> bool:
        """Its processes have ended, and Slurm cleans up its nodes."""
        return self.state == "COMPLETING"


def read_jobs(folder: Path) -> SubmittedJobs:
    """Return the jobs that were submitted from a folder of batch files.

    Raises:
        SlurmError: the file cannot be read.
    """
    path = folder / JOBS_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=SubmittedJobs)
    except FileNotFoundError:
        return SubmittedJobs()
    except (OSError, msgspec.MsgspecError) as error:
        raise SlurmError(f"{path}: expected the jobs of a mesh, got: {reason_of(error)}") from error


def forget_jobs(folder: Path) -> None:
    """Forget all submitted jobs, because a new mesh starts."""
    write_whole(folder / JOBS_NAME, msgspec.json.encode(SubmittedJobs()))


def submit(folder: Path, name: str, *options: str) -> int:
    """Submit a batch file, note the job and return its number.

    Raises:
        SlurmError: Slurm rejects it.
    """
    output = run_slurm("sbatch", "--parsable", *options, name + SUFFIX, folder=folder)
    job = int(output.partition(";")[0])  # in a federation, the name of the cluster follows
    submitted = read_jobs(folder).submitted
    submitted[name] = (*submitted.get(name, ()), job)
    write_whole(folder / JOBS_NAME, msgspec.json.encode(SubmittedJobs(submitted=submitted)))
    return job


def live_tasks(folder: Path) -> list[SlurmTask]:
    """Return the tasks of a mesh that Slurm still lists: the head first, then groups by name and index.

    Raises:
        SlurmError: Slurm does not answer.
    """
    names = {job: name for name, jobs in read_jobs(folder).submitted.items() for job in jobs}
    if not names:
        return []
    output = run_slurm("squeue", "--noheader", "--array", "--me", f"--format={_FORMAT}")
    tasks = []
    for line in output.splitlines():
        job, array, index, state, nodes, reason = line.split("|", 5)
        if name := names.get(int(array)):
            number = int(index) if index.isdigit() else None
            tasks.append(SlurmTask(name, int(job), int(array), number, state, nodes, reason))
    return sorted(tasks, key=lambda task: (task.name != HEAD, task.name, task.index or 0, task.job))


def end_task(task: SlurmTask, *, gracefully: bool) -> None:
    """Stop a task for good; a pending or hurried one is cancelled, and has only the cluster's KillWait.

    A task that gets SIGINT is not requeued. After the SIGTERM that Slurm sends, it would be.
    """
    options = ("--batch", "--signal=INT") if gracefully and not task.is_pending else ()
    run_slurm("scancel", "--quiet", *options, task.id)


def is_requeued(code: int, settings: str) -> bool:
    """Return whether a cluster with the settings of `scontrol show config` requeues a job with an exit code."""
    setting = re.search(r"^RequeueExit\s*=\s*(.*)$", settings, re.MULTILINE)
    ranges = re.findall(r"(\d+)(?:-(\d+))?", setting[1]) if setting else []
    return any(int(low) <= code <= int(high or low) for low, high in ranges)


def run_slurm(*command: str, folder: Path | None = None) -> str:
    """Return the output of a command of Slurm.

    Raises:
        SlurmError: the command is not installed, fails, or takes more than 60 s.
    """
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_COMMAND_S, check=False)
    except FileNotFoundError as error:
        raise SlurmError(f"{command[0]}: expected a command of Slurm on this host, got none") from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{command[0]}: expected a reply from Slurm within {_COMMAND_S:g} s, got none") from error
    complaint = done.stderr.strip()
    if done.returncode != 0 and complaint:  # scancel exits silently with 229 after it signalled one task of an array
        raise SlurmError(f"{command[0]}: expected Slurm to obey, got: {complaint}")
    return done.stdout.strip()
