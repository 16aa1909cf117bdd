"""Renders the batch files of a mesh on a Slurm cluster from its settings, as plain text that a person may edit. Pure.

One file is the head: router, memory and every role that no group plays. Each group has a file that starts one agent per
task of its array. Agents find the head through the address file that it writes into the shared folder.
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
"""File in which the head writes its address."""
HEAD = "head"
SUFFIX = ".sbatch"
_MIN_WARNING_S = 60
"""Minimum time between the signal to drain and the end of a job's time limit: Slurm checks limits once a minute."""
_DRAINING_ROLES = 4
"""Roles that may drain one after another, each within its grace period: conductor, verifier, generator, memory."""
_MARK = re.compile(r"^# as rendered: [0-9a-f]{16}\n", re.MULTILINE)
_ABOUT = (
    "# You may edit this file: `gems slurm render` does not overwrite edited files.",
    "#",
    "# Before the time limit, or when another job preempts this one, Slurm sends SIGTERM: the job drains, exits with",
    "# 75, and is requeued by a cluster that has RequeueExit=75 in its slurm.conf. `gems slurm down` ends it for good.",
)
_HEAD = """\
# The address by which Slurm itself reaches this node, and ports that depend on the job. Agents poll the file, so they
# also find a head that was requeued and runs on another node.
host=$(scontrol show node --oneliner "$SLURMD_NODENAME" | sed -n 's/.* NodeAddr=\\([^ ]*\\).*/\\1/p')
port=$((20000 + SLURM_JOB_ID % 700 * 16))
echo "{routers} job $SLURM_JOB_ID restart ${{SLURM_RESTART_COUNT:-0}}" >.{address}
mv .{address} {address}

# A host name may resolve to 127.0.1.1 on the node itself, so only a numeric address is bound alone.
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
class BatchPaths:
    """Paths that are the same on every node."""

    mesh: Path
    """File with the settings of the mesh."""
    folder: Path
    """Folder of the batch files, where jobs run and log."""
    programs: Path


def batch_files(config: MeshConfig, paths: BatchPaths) -> dict[str, str]:
    """Return the batch files by name, the head's first.

    Raises:
        ConfigError: two groups have the same name, a group has no role, the groups have no shared picture store, or a
            path contains characters that Slurm cannot read.
    """
    for path in (paths.mesh, paths.folder, paths.programs):
        if re.search(r"[^\w@%+=:,./~-]", str(path)):
            raise ConfigError(f"slurm: expected a path without spaces or shell characters, got {path}")
    if config.slurm.groups and config.blobs is None:
        raise ConfigError('blobs: expected a store that all nodes reach, such as "mesh:" or "file:///shared", got none')
    groups = {group.name: group for group in config.slurm.groups}
    for group in config.slurm.groups:
        if group is not groups[group.name]:
            raise ConfigError(f"slurm.groups: expected unique names, got {group.name} twice")
        if not group.counts():
            raise ConfigError(f"slurm.groups: expected a role with a count in {group.name}, got none")
    files = {HEAD + SUFFIX: _marked(_head_header(config, paths), _head_script(config, paths))}
    for name, group in groups.items():
        files[name + SUFFIX] = _marked(_group_header(config, group, paths), _group_script(group, paths))
    return files


def is_edited(text: str) -> bool:
    """Return whether a batch file was changed after it was rendered."""
    mark = _MARK.search(text)
    return mark is None or mark[0] != _mark_of(text.replace(mark[0], "", 1))


def _head_header(config: MeshConfig, paths: BatchPaths) -> Iterator[str]:
    yield "#!/bin/bash"
    here = {role: config.role(role).count for role in config.start_order if role not in _elsewhere(config)}
    yield f"# The head of a mesh: {_list_roles({'router': 1} | here)}."
    yield "# `gems slurm up` submits it first; it logs to head.log."
    yield from _ABOUT
    yield from _options(config, HEAD, config.slurm.head, paths)


def _group_header(config: MeshConfig, group: SlurmGroupConfig, paths: BatchPaths) -> Iterator[str]:
    agents = "1 agent" if group.array == 1 else f"{group.array} agents, one per task of the array, each"
    yield "#!/bin/bash"
    yield f"# The group {group.name} of a mesh: {agents} with {_list_roles(group.counts())}."
    yield f"# `gems slurm scale DIR {group.name}=N` changes their number; they log to {group.name}-N.log."
    yield from _ABOUT
    yield from _options(config, group.name, group, paths)
    yield f"#SBATCH --array=0-{group.array - 1}"
    if group.gres is not None:
        yield f"#SBATCH --gres={group.gres}"


def _options(config: MeshConfig, name: str, job: SlurmHeadConfig, paths: BatchPaths) -> Iterator[str]:
    slurm = config.slurm
    yield f"#SBATCH --job-name=gems-{name}"
    yield f"#SBATCH --chdir={paths.folder}"
    yield f"#SBATCH --output={name}{'' if name == HEAD else '-%a'}.log"
    yield "#SBATCH --open-mode=append"
    yield "#SBATCH --ntasks=1"
    yield "#SBATCH --requeue"
    yield f"#SBATCH --signal=B:TERM@{max(_MIN_WARNING_S, math.ceil(_DRAINING_ROLES * config.supervisor.grace_s))}"
    of_mesh = {"partition": slurm.partition, "account": slurm.account, "time": slurm.time}
    for option, value in {**of_mesh, "cpus-per-task": job.cpus, "mem": job.mem}.items():
        if value is not None:
            yield f"#SBATCH --{option}={value}"
    yield from (f"#SBATCH {option}" for option in (*slurm.options, *job.options))


def _head_script(config: MeshConfig, paths: BatchPaths) -> str:
    ports = ["$port", *(f"$((port + {offset}))" for offset in range(1, config.router.count))]
    routers = join_addresses([*(f"tcp://$host:{port}" for port in ports), *config.router.others])
    elsewhere = [role for role in config.start_order if role in _elsewhere(config)]
    limits = {role: () if config.role(role).max is None else ("min", "max") for role in elsewhere}
    settings = [f"{role}.{key}" for role in elsewhere for key in ("count", *limits[role])]
    without = "".join(f" \\\n    --set roles.{setting}=0" for setting in settings)
    return _start(paths) + _HEAD.format(address=ADDRESS_NAME, routers=routers, mesh=paths.mesh, without=without)


def _group_script(group: SlurmGroupConfig, paths: BatchPaths) -> str:
    counts = " ".join(f"{role}={count}" for role, count in group.counts().items())
    return _start(paths) + _AGENT.format(address=ADDRESS_NAME, mesh=paths.mesh, name=group.name, counts=counts)


def _start(paths: BatchPaths) -> str:
    return f"\nset -euo pipefail\nexport PATH={paths.programs}:$PATH\n\n"


def _elsewhere(config: MeshConfig) -> set[str]:
    return {role for group in config.slurm.groups for role in group.counts()}


def _list_roles(counts: dict[str, int]) -> str:
    return ", ".join(role if count == 1 else f"{count} of {role}" for role, count in counts.items() if count)


def _marked(header_lines: Iterator[str], script: str) -> str:
    header = "\n".join([*header_lines, ""])
    return header + _mark_of(header + script) + script


def _mark_of(text: str) -> str:
    return f"# as rendered: {hashlib.sha256(text.encode()).hexdigest()[:16]}\n"
