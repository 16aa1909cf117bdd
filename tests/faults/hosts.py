"""Hosts of a network that the tests create: network namespaces behind one switch.

Each host has its own address, host name and cable, which can be unplugged or lose packets. Needs root and Debian's
iproute2 and iptables.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.gems_actors.cli.commands import COMMAND, environment
from tests.processes import started


def why_not() -> str | None:
    """Return why no network can be created here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in ("ip", "iptables", "unshare") if shutil.which(tool) is None]
    return f"{' and '.join(missing)} missing: install iproute2, iptables and util-linux" if missing else None


class Network:
    """Hosts at 10.77.0.1 and up, in the order of their names; created by `open_network`."""

    def __init__(self, folder: Path, stack: ExitStack, names: tuple[str, ...]) -> None:
        self.folder = folder
        self._stack = stack
        self._prefix = f"gems{os.getpid()}"
        self._switch = f"{self._prefix}-switch"
        self.addresses = {name: f"10.77.0.{place}" for place, name in enumerate(names, 1)}
        self._add_space(self._switch)
        self._ip("-n", self._switch, "link", "add", "bridge", "type", "bridge")
        self._ip("-n", self._switch, "link", "set", "bridge", "up")
        for name in names:
            self._add_host(name)

    def start(self, host: str, *arguments: str) -> subprocess.Popen[str]:
        """Start `gems` on a host with its standard output in a pipe; closing the network ends it."""
        return self._start(host, *COMMAND, *arguments)

    def gems(self, host: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `gems` on a host to its end."""
        return subprocess.run(
            self._on(host, *COMMAND, *arguments),
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def delay(self, host: str, port: int, target: str, seconds: float) -> None:
        """Let a host reach a target through one of its own ports, with a delay in each direction."""
        line = self._start(host, sys.executable, "-m", "tests.faults.slow_line", str(port), target, str(seconds))
        assert line.stdout is not None
        line.stdout.readline()

    def cut(self, host: str) -> None:
        """Unplug the cable of a host."""
        self._ip("-n", self._switch, "link", "set", f"to-{host}", "down")

    def mend(self, host: str) -> None:
        """Plug the cable of a host in again."""
        self._ip("-n", self._switch, "link", "set", f"to-{host}", "up")

    def lose(self, host: str, share: float) -> None:
        """Drop a share of a host's packets in each direction."""
        for chain in ("INPUT", "OUTPUT"):
            rule = ["-A", chain, "-m", "statistic", "--mode", "random", "--probability", str(share), "-j", "DROP"]
            subprocess.run([*self._in(host), "iptables", *rule], check=True)

    def _add_host(self, name: str) -> None:
        space = self._space(name)
        self._add_space(space)
        self._ip(
            "-n", space, "link", "add", "eth0", "type", "veth", "peer", "name", f"to-{name}", "netns", self._switch
        )
        self._ip("-n", space, "addr", "add", f"{self.addresses[name]}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            self._ip("-n", space, "link", "set", device, "up")
        self._ip("-n", self._switch, "link", "set", f"to-{name}", "master", "bridge", "up")

    def _add_space(self, space: str) -> None:
        self._ip("netns", "add", space)
        self._stack.callback(self._ip, "netns", "del", space)

    def _start(self, host: str, *command: str) -> subprocess.Popen[str]:
        log = self._stack.enter_context((self.folder / f"{host}.log").open("a"))
        return self._stack.enter_context(
            started(
                self._on(host, *command),
                cwd=self.folder,
                env=self._environment(),
                stdout=subprocess.PIPE,
                stderr=log,
            )
        )

    def _environment(self) -> dict[str, str]:
        return environment(self.folder, PYTHONPATH=os.environ.get("PYTHONPATH", str(Path(__file__).parents[2])))

    def _on(self, host: str, *command: str) -> list[str]:
        """Return a command line that runs a command on a host, under its host name and with the same pid."""
        named = 'hostname "$0" && exec "$@"'
        return [*self._in(host), "unshare", "--uts", "sh", "-c", named, host, *command]

    def _in(self, host: str) -> list[str]:
        return ["ip", "netns", "exec", self._space(host)]

    def _space(self, host: str) -> str:
        return f"{self._prefix}-{host}"

    @staticmethod
    def _ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True)


@contextmanager
def open_network(folder: Path, *names: str) -> Iterator[Network]:
    """Create hosts; closing ends everything that was started on them."""
    with ExitStack() as stack:
        yield Network(folder, stack, names)
