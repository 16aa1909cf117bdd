"""A Slurm cluster of one's own: controller, two nodes and their authentication, all on loopback in one folder.

As root only, since nodes start jobs as their owners. Nothing is written below /etc or /var, and nothing is left behind.
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
_PATIENCE_S = 60.0
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
SlurmdTimeout=5
MessageTimeout=2
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
"""`cred_expire` is also how long a job that is queued again waits, 120 s by itself."""


def what_is_missing() -> str:
    """Return in words why there can be no cluster here, empty where there can."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"a cluster needs Slurm and Munge, of which these are not installed: {', '.join(missing)}"
    return "" if os.getuid() == 0 else "a cluster of one's own needs root"


class Cluster:
    """Two nodes: n1, and n2 with two GPUs that are none."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self.environment: Mapping[str, str] = environment() | {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "TMPDIR": str(folder),
        }
        """In which Slurm's commands mean this cluster."""
        self._nodes: dict[str, subprocess.Popen[str]] = {}

    def ask(self, *command: str) -> str:
        """Return what a command of Slurm writes."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def start_node(self, name: str) -> None:
        """Switch a node on, for the first time or again."""
        self._nodes[name] = self._start("slurmd", "-D", "-N", name, log=f"slurmd.{name}")

    def kill_node(self, name: str) -> None:
        """Take the power from a node: its daemon and all that its jobs run."""
        family = self._processes_of(name)
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._nodes[name].wait()
        assert not await_gone(family)

    def processes(self) -> set[int]:
        """Return all of both nodes: their daemons, what holds jobs, and what the jobs run."""
        return {pid for name in NODES for pid in self._processes_of(name)}

    def state_of_nodes(self) -> dict[str, str]:
        """Return each node's state in Slurm's words."""
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
        for number in (0, 1):  # a file that is no device gives a job no CUDA_VISIBLE_DEVICES
            os.mknod(folder / f"nvidia{number}", 0o600 | 0o020000, os.makedev(1, 3))
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        places = {"key-file": key.name, "socket": "munge.sock", "pid-file": "munged.pid", "seed-file": "munged.seed"}
        self._start("munged", "--foreground", "--force", *(f"--{what}={folder / at}" for what, at in places.items()))
        await_true((folder / "munge.sock").exists)
        self._start("slurmctld", "-D", "-i")
        for name in NODES:
            self.start_node(name)
        await_true(lambda: self._answers() and set(self.state_of_nodes().values()) == {"idle"})

    def close(self) -> None:
        """End all jobs, and what is left of them."""
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
        """Return a node's daemon and what holds its jobs, both of which write its log, and what the jobs run."""
        prefix = f"{self._folder}/slurmd.{node}."
        found = set()
        for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
            with suppress(OSError):  # it may end while it is looked at
                if str(descriptor.readlink()).startswith(prefix):
                    found.add(int(descriptor.parts[2]))
        found.discard(os.getpid())
        return found | {pid for step in found for pid in descendants(step)}


@contextmanager
def open_cluster(folder: Path) -> Iterator[Cluster]:
    """Give a cluster whose nodes are idle, in an empty folder with a short path."""
    with ExitStack() as stack:
        cluster = Cluster(folder, stack)
        cluster.open()
        try:
            yield cluster
        finally:
            cluster.close()  # before the stack ends what was started


def await_true(is_so: Callable[[], bool], within_s: float = _PATIENCE_S) -> None:
    """Return as soon as something is so."""
    end = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end, f"expected it to be so within {within_s:g} s"
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in sockets]
