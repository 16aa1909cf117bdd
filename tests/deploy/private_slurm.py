"""A private Slurm cluster: controller, two nodes and their authentication, all on loopback in one folder.

It needs root, because nodes start jobs as their owners. Nothing is written below /etc or /var, and nothing is left.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.processes import await_gone, descendants, environment, started

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
NODES = ("n1", "n2")
_TIME_LIMIT_S = 240.0
_CONF = """\
ClusterName=gems
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=300
MessageTimeout=60
KillWait=8
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,defer
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
FirstJobId={first_job}
JobRequeue=1
RequeueExit=75
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=8 RealMemory=8000 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=8 RealMemory=8000 Gres=gpu:2 State=UNKNOWN
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""
"""`cred_expire` is also the time that a requeued job waits, by default 120 s.

The timeouts for nodes and messages are longer than a busy machine needs, so `lose_node` declares a killed node down.
"""


def what_is_missing() -> str:
    """Return why no cluster can run on this machine; empty if one can."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"a cluster needs Slurm and Munge, of which these are not installed: {', '.join(missing)}"
    return "" if os.getuid() == 0 else "a private cluster needs root"


class Cluster:
    """Two nodes: n1, and n2 with two pretended GPUs."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self.environment: Mapping[str, str] = environment() | {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "TMPDIR": str(folder),
        }
        """Environment in which Slurm's commands use this cluster."""
        self._nodes: dict[str, subprocess.Popen[str]] = {}

    def ask(self, *command: str) -> str:
        """Return the output of a command of Slurm."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def start_node(self, name: str) -> None:
        """Start the daemon of a node."""
        self._nodes[name] = self._start("slurmd", "-D", "-N", name, log=f"slurmd.{name}")

    def lose_node(self, name: str) -> None:
        """Kill a node and declare it down, which Slurm does itself once a node is silent for SlurmdTimeout."""
        self.kill_node(name)
        self.ask("scontrol", "update", f"NodeName={name}", "State=DOWN", "Reason=killed")

    def kill_node(self, name: str) -> None:
        """Kill a node as a power failure does: its daemon and all processes of its jobs, at once.

        A job step that lives longer than its job reports the job as failed, and Slurm does not requeue it.
        """
        _send(signal.SIGSTOP, self._daemons_of(name))
        family = self._processes_of(name)
        _send(signal.SIGKILL, family)
        self._nodes[name].wait()
        assert not await_gone(family)

    def processes(self) -> set[int]:
        """Return the pids of both nodes: their daemons, the job steps, and the processes of the jobs."""
        return {pid for name in NODES for pid in self._processes_of(name)}

    def state_of_nodes(self) -> dict[str, str]:
        """Return each node's state as Slurm names it."""
        return dict(line.split() for line in self.ask("sinfo", "--noheader", "-N", "--format=%N %T").splitlines())

    def open(self) -> None:
        """Start authentication, controller and nodes, and return when they are idle."""
        folder = self._folder
        for name in ("state", "spool.n1", "spool.n2"):
            (folder / name).mkdir()
        host = socket.gethostname().partition(".")[0]
        (folder / "slurm.conf").write_text(
            _CONF.format(host=host, folder=folder, ports=_free_ports(3), first_job=os.getpid())
        )
        (folder / "gres.conf").write_text(f"AutoDetect=off\nNodeName=n2 Name=gpu File={folder}/nvidia[0-1]\n")
        for number in (0, 1):  # Slurm sets CUDA_VISIBLE_DEVICES only for device files
            os.mknod(folder / f"nvidia{number}", 0o600 | 0o020000, os.makedev(1, 3))
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        files = {"key-file": key.name, "socket": "munge.sock", "pid-file": "munged.pid", "seed-file": "munged.seed"}
        self._start("munged", "--foreground", "--force", *(f"--{what}={folder / at}" for what, at in files.items()))
        await_true((folder / "munge.sock").exists)
        self._start("slurmctld", "-D", "-i")
        for name in NODES:
            self.start_node(name)
        await_true(lambda: self._answers() and set(self.state_of_nodes().values()) == {"idle"})

    def close(self) -> None:
        """End all jobs and nodes."""
        self.ask("scancel", "--quiet", "--me")
        await_true(lambda: not self.ask("squeue", "--noheader"))
        for name in NODES:
            self.kill_node(name)

    def _start(self, *command: str, log: str = "") -> subprocess.Popen[str]:
        out = self._stack.enter_context((self._folder / f"{log or command[0]}.out").open("a"))
        return self._stack.enter_context(started(command, env=self.environment, stdout=out, stderr=out))

    def _answers(self) -> bool:
        return (
            subprocess.run(["scontrol", "ping"], env=self.environment, capture_output=True, check=False).returncode == 0
        )

    def _processes_of(self, node: str) -> set[int]:
        """Return the pids of a node: its daemon, its job steps, and the processes of the jobs."""
        found = self._daemons_of(node)
        return found | {pid for step in found for pid in descendants(step)}

    def _daemons_of(self, node: str) -> set[int]:
        """Return the pids of a node's daemon and job steps, which write its log."""
        prefix = f"{self._folder}/slurmd.{node}."
        found = set()
        for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
            with suppress(OSError):  # the process may end meanwhile
                if str(descriptor.readlink()).startswith(prefix):
                    found.add(int(descriptor.parts[2]))
        found.discard(os.getpid())
        return found


@contextmanager
def open_cluster(folder: Path) -> Iterator[Cluster]:
    """Open a cluster with idle nodes in an empty folder with a short path."""
    with ExitStack() as stack:
        cluster = Cluster(folder, stack)
        cluster.open()
        try:
            yield cluster
        finally:
            cluster.close()  # before the stack ends what was started


def await_true(is_so: Callable[[], bool], within_s: float = _TIME_LIMIT_S) -> None:
    """Return as soon as a condition holds."""
    end = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end, f"expected the condition to hold within {within_s:g} s"
        time.sleep(0.1)


def _send(number: signal.Signals, pids: set[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in sockets]
