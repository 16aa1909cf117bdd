"""The batch files of a mesh on a Slurm cluster, from its settings: pure text that a person may edit afterwards.

One file is the head: router, memory and every role that no group plays. Each group is a file that starts as many agents
as its array has tasks. Agents find the head by the file that it writes into the folder they share.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gems_actors.addresses import join_addresses
from gems_actors.config import MeshConfig, SlurmGroupConfig, SlurmHeadConfig
from gems_actors.errors import ConfigError

ADDRESS_NAME = "router.address"
"""File in which the head says where it listens."""
HEAD = "head"
SUFFIX = ".sbatch"
_MIN_WARNING_S = 60
"""How long before its time is over a job is told to drain, at least: Slurm looks once a minute."""
_DRAINING_ROLES = 4
"""So many at most have something in hand to finish, one after another: conductor, verifier, generator, memory."""
_MARK = re.compile(r"^# as rendered: [0-9a-f]{16}\n", re.MULTILINE)
_ABOUT = (
    "# Edit it as you like: `gems slurm render` does not overwrite what was edited.",
    "#",
    "# Before its time is over or another job goes first, Slurm sends SIGTERM: what runs here drains, ends with 75,",
    "# and is queued again by a cluster that has RequeueExit=75 in its slurm.conf. `gems slurm down` ends it for good.",
)
_HEAD = """\
# The address by which Slurm itself reaches this node, and ports of this job's own. Agents look into the file again and
# again: they also find a head that was queued again and runs on another node.
host=$(scontrol show node --oneliner "$SLURMD_NODENAME" | sed -n 's/.* NodeAddr=\\([^ ]*\\).*/\\1/p')
port=$((20000 + SLURM_JOB_ID % 700 * 16))
echo "{routers} job $SLURM_JOB_ID restart ${{SLURM_RESTART_COUNT:-0}}" >.{address}
mv .{address} {address}

# A node's own name may stand for 127.0.1.1 there, so only a number is listened at alone.
listen=0.0.0.0
if [[ $host =~ ^[0-9.]+$ ]]; then listen=$host; fi
exec gems up {mesh} \\
    --set router.address="tcp://$listen:$port" \\
    --set router.runtime_dir="${{TMPDIR:-/tmp}}/gems-actors-$SLURM_JOB_ID"{without}
"""
_AGENT = """\
exec gems agent --router-file {address} --config {mesh} --name "{name}-$SLURM_ARRAY_TASK_ID" \\
    {counts}
"""


@dataclass(frozen=True, slots=True)
class Places:
    """Paths that mean the same on every node."""

    mesh: Path
    """The file with the settings."""
    folder: Path
    """Of the batch files, where jobs run and log."""
    programs: Path
    """The folder with the command `gems`."""


def batch_files(config: MeshConfig, places: Places) -> dict[str, str]:
    """Return the batch files by name, the head's first.

    Raises:
        ConfigError: groups have one name, play no role or cannot reach the pictures, or Slurm does not read a path.
    """
    for path in (places.mesh, places.folder, places.programs):
        if re.search(r"[^\w@%+=:,./~-]", str(path)):
            raise ConfigError(f"slurm: expected paths without spaces and signs of the shell, got {path}")
    if config.slurm.groups and config.blobs is None:
        raise ConfigError('blobs: expected a store that all nodes reach, such as "mesh:" or "file:///shared", got none')
    groups = {group.name: group for group in config.slurm.groups}
    for group in config.slurm.groups:
        if group is not groups[group.name]:
            raise ConfigError(f"slurm.groups: expected another name for each, got {group.name} again")
        if not group.counts():
            raise ConfigError(f"slurm.groups: expected a role with a count in {group.name}, got none")
    files = {HEAD: (_head_header(config, places), _head_script(config, places))}
    files |= {
        name: (_group_header(config, group, places), _group_script(group, places)) for name, group in groups.items()
    }
    return {name + SUFFIX: _marked("\n".join([*header, ""]), script) for name, (header, script) in files.items()}


def is_edited(text: str) -> bool:
    """Return whether a batch file is another than it was when it was rendered."""
    mark = _MARK.search(text)
    return mark is None or mark[0] != _mark_of(text.replace(mark[0], "", 1))


def _head_header(config: MeshConfig, places: Places) -> Iterator[str]:
    yield "#!/bin/bash"
    yield f"# The head of a mesh: {_in_words({'router': 1} | _head_counts(config))}."
    yield "# `gems slurm up` gives it to Slurm before all others; it logs to head.log."
    yield from _ABOUT
    yield from _options(config, HEAD, config.slurm.head, places)


def _group_header(config: MeshConfig, group: SlurmGroupConfig, places: Places) -> Iterator[str]:
    agents = "1 agent" if group.array == 1 else f"{group.array} agents, one a task of the array, each"
    yield "#!/bin/bash"
    yield f"# The group {group.name} of a mesh: {agents} with {_in_words(group.counts())}."
    yield f"# `gems slurm scale DIR {group.name}=N` has more or fewer while it runs; they log to {group.name}-N.log."
    yield from _ABOUT
    yield from _options(config, group.name, group, places)
    yield f"#SBATCH --array=0-{group.array - 1}"
    if group.gres is not None:
        yield f"#SBATCH --gres={group.gres}"


def _options(config: MeshConfig, name: str, job: SlurmHeadConfig, places: Places) -> Iterator[str]:
    slurm = config.slurm
    yield f"#SBATCH --job-name=gems-{name}"
    yield f"#SBATCH --chdir={places.folder}"
    yield f"#SBATCH --output={name}{'' if name == HEAD else '-%a'}.log"
    yield "#SBATCH --open-mode=append"
    yield "#SBATCH --ntasks=1"
    yield "#SBATCH --requeue"
    yield f"#SBATCH --signal=B:TERM@{max(_MIN_WARNING_S, math.ceil(_DRAINING_ROLES * config.supervisor.grace_s))}"
    named = {
        "partition": slurm.partition,
        "account": slurm.account,
        "time": slurm.time,
        "cpus-per-task": job.cpus,
        "mem": job.mem,
    }
    yield from (f"#SBATCH --{option}={value}" for option, value in named.items() if value is not None)
    yield from (f"#SBATCH {option}" for option in (*slurm.options, *job.options))


def _head_script(config: MeshConfig, places: Places) -> str:
    ports = ["$port", *(f"$((port + {further}))" for further in range(1, config.router.count))]
    routers = join_addresses([*(f"tcp://$host:{port}" for port in ports), *config.router.others])
    without = "".join(f" \\\n    --set roles.{setting}=0" for setting in _settings_elsewhere(config))
    return _start(places) + _HEAD.format(address=ADDRESS_NAME, routers=routers, mesh=places.mesh, without=without)


def _group_script(group: SlurmGroupConfig, places: Places) -> str:
    counts = " ".join(f"{role}={count}" for role, count in group.counts().items())
    return _start(places) + _AGENT.format(address=ADDRESS_NAME, mesh=places.mesh, name=group.name, counts=counts)


def _start(places: Places) -> str:
    return f"\nset -euo pipefail\nexport PATH={places.programs}:$PATH\n\n"


def _head_counts(config: MeshConfig) -> dict[str, int]:
    return {role: config.role(role).count for role in config.start_order if role not in _elsewhere(config)}


def _elsewhere(config: MeshConfig) -> set[str]:
    return {role for group in config.slurm.groups for role in group.counts()}


def _settings_elsewhere(config: MeshConfig) -> Iterator[str]:
    """Give what must be none at the head: roles that groups play, which must not grow there either."""
    for role in config.start_order:
        if role in _elsewhere(config):
            growing = () if config.role(role).max is None else ("min", "max")
            yield from (f"{role}.{setting}" for setting in ("count", *growing))


def _in_words(counts: dict[str, int]) -> str:
    return ", ".join(role if count == 1 else f"{count} of {role}" for role, count in counts.items() if count)


def _marked(header: str, script: str) -> str:
    return header + _mark_of(header + script) + script


def _mark_of(text: str) -> str:
    return f"# as rendered: {hashlib.sha256(text.encode()).hexdigest()[:16]}\n"
