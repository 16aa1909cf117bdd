"""The jobs of a mesh on a Slurm cluster: given to it, looked at and ended by its own commands.

Which jobs are whose is kept in one small file beside the batch files, so that commands on any host know.
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

JOBS_NAME = "jobs.json"
_PATIENCE_S = 60.0
_FORMAT = "%A|%F|%K|%T|%N|%r"
"""Of squeue: job, array, place in the array, state, nodes, and why it waits."""


class SlurmError(GemsError):
    """A command of Slurm failed, or a job is not as it should be; says what Slurm said."""


class Jobs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which jobs were given to Slurm for a mesh, by the name of their batch file; arrays are one job."""

    submitted: dict[str, tuple[int, ...]] = {}

    def with_one_more(self, name: str, job: int) -> Jobs:
        """Return the same, and one more job of a batch file."""
        return Jobs(submitted={**self.submitted, name: (*self.submitted.get(name, ()), job)})


@dataclass(frozen=True, slots=True)
class Task:
    """One job, or one of an array, that Slurm still has."""

    name: str
    """Of its batch file."""
    job: int
    """Its own number."""
    array: int
    """The number of the array it is of, or its own."""
    place: int | None
    """In its array."""
    state: str
    """In Slurm's words, such as `RUNNING`."""
    nodes: str
    reason: str
    """Why it waits."""

    @property
    def id(self) -> str:
        """How Slurm's commands call it."""
        return str(self.array) if self.place is None else f"{self.array}_{self.place}"

    @property
    def is_pending(self) -> bool:
        """It waits for nodes, for the first time or again."""
        return self.state == "PENDING"

    @property
    def is_completing(self) -> bool:
        """Its processes have ended, and its nodes are being tidied."""
        return self.state == "COMPLETING"


def read_jobs(folder: Path) -> Jobs:
    """Return which jobs were given to Slurm from a folder of batch files; none where there were none yet.

    Raises:
        SlurmError: the file cannot be read.
    """
    path = folder / JOBS_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Jobs)
    except FileNotFoundError:
        return Jobs()
    except (OSError, msgspec.MsgspecError) as error:
        raise SlurmError(f"{path}: expected the jobs of a mesh, got: {error}") from error


def forget_jobs(folder: Path) -> None:
    """Remember none of the jobs that were given to Slurm: a new mesh begins."""
    write_whole(folder / JOBS_NAME, msgspec.json.encode(Jobs()))


def submit(folder: Path, name: str, *options: str) -> int:
    """Give a batch file to Slurm, remember the job and return its number.

    Raises:
        SlurmError: Slurm does not take it.
    """
    said = run_slurm("sbatch", "--parsable", *options, name + SUFFIX, folder=folder)
    job = int(said.partition(";")[0])  # on a cluster of clusters its name follows
    write_whole(folder / JOBS_NAME, msgspec.json.encode(read_jobs(folder).with_one_more(name, job)))
    return job


def living_tasks(folder: Path) -> list[Task]:
    """Return what Slurm still has of a mesh: the head first, then groups by name, each by place.

    Raises:
        SlurmError: Slurm does not answer.
    """
    names = {job: name for name, jobs in read_jobs(folder).submitted.items() for job in jobs}
    if not names:
        return []
    said = run_slurm("squeue", "--noheader", "--array", "--me", f"--format={_FORMAT}")
    tasks = [_parse_task(line, names) for line in said.splitlines() if int(line.split("|")[1]) in names]
    return sorted(tasks, key=lambda task: (task.name != HEAD, task.name, task.place or 0, task.job))


def ask_to_drain(task: Task) -> None:
    """Have what a task runs drain and end for good; one that does not run yet is taken back.

    SIGINT is what a person sends, so it is not queued again, as after the SIGTERM of Slurm.
    """
    how = () if task.is_pending else ("--batch", "--signal=INT")
    run_slurm("scancel", "--quiet", *how, task.id)


def end_now(task: Task) -> None:
    """Have Slurm end a task, gently only for as long as the cluster's KillWait."""
    run_slurm("scancel", "--quiet", task.id)


def read_settings() -> str:
    """Return the settings of the cluster, one in each line."""
    return run_slurm("scontrol", "show", "config")


def is_queued_again(code: int, settings: str) -> bool:
    """Return whether a cluster with these settings queues a job again that ends with an exit code."""
    setting = re.search(r"^RequeueExit\s*=\s*(.*)$", settings, re.MULTILINE)
    ranges = re.findall(r"(\d+)(?:-(\d+))?", setting[1]) if setting else []
    return any(int(low) <= code <= int(high or low) for low, high in ranges)


def run_slurm(*command: str, folder: Path | None = None) -> str:
    """Return what a command of Slurm writes.

    Raises:
        SlurmError: it is not installed, fails or does not end.
    """
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    except FileNotFoundError as error:
        raise SlurmError(f"{command[0]}: expected a command of Slurm on this host, got none") from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{command[0]}: expected an answer of Slurm within {_PATIENCE_S:g} s, got none") from error
    said = done.stderr.strip()
    if done.returncode != 0 and said:  # scancel ends with 229 and not a word after it has signalled one of an array
        raise SlurmError(f"{command[0]}: expected Slurm to obey, got: {said}")
    return done.stdout.strip()


def _parse_task(line: str, names: dict[int, str]) -> Task:
    job, array, place, state, nodes, reason = line.split("|", 5)
    return Task(
        name=names[int(array)],
        job=int(job),
        array=int(array),
        place=int(place) if place.isdigit() else None,
        state=state,
        nodes=nodes,
        reason=reason,
    )
