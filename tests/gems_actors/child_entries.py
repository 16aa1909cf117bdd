"""Entry functions for the processes of test meshes, in place of `run_role`; the zygote imports them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from gems_actors.config import MeshConfig
from gems_actors.supervision.child_main import run_role


def write_what_it_inherited(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Write arguments and inherited state to the file `address`, and exit with code 7."""
    seen = {
        "role": role,
        "name": name,
        "max_rounds": config.draw.max_rounds,
        "leads_its_session": os.getsid(0) == os.getpid(),
        "descriptors": sorted(int(entry.name) for entry in Path("/proc/self/fd").iterdir()),
        "comm": Path("/proc/self/comm").read_text().strip(),
        "command_line": Path("/proc/self/cmdline").read_bytes().rstrip(b"\0").decode(),
        "handles_term": signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL,
        "handles_int": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "has_rich": "rich" in sys.modules,
        "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    }
    Path(address).write_text(json.dumps(seen))
    return 7


def sleep(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Sleep until killed; the role `deaf` ignores SIGTERM."""
    if role == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(1000)


def leave_a_grandchild(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Start a grandchild, write its pid to the file `address`, and exit."""
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    Path(address).write_text(str(grandchild.pid))
    os._exit(0)


def crash(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Raise an exception."""
    raise RuntimeError("as the test wants it")


def end_at_once(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Exit with code 0."""
    return 0


def run_with_a_verifier_that_ignores_sigterm(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Run the role; the verifier ignores SIGTERM."""
    return sleep("deaf", config, address, name) if role == "verifier" else run_role(role, config, address, name)


def run_with_a_verifier_that_exits(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Run the role; the verifier exits at once with code 3."""
    return 3 if role == "verifier" else run_role(role, config, address, name)


def run_with_a_router_that_hangs(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Run the role; the router never answers."""
    return sleep(role, config, address, name) if role == "router" else run_role(role, config, address, name)


def run_with_a_misconfigured_generator(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Run the role; the generator exits with 78, the final exit code."""
    return 78 if role == "generator" else run_role(role, config, address, name)


def run_with_room_for_one_generator(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Run the role; a second generator exits with 78, the final exit code."""
    return 78 if name.startswith("generator-2") else run_role(role, config, address, name)


def run_and_record_exit(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Run the role, and append its name to the file `ended` in the data folder when it has drained."""
    code = run_role(role, config, address, name)
    with (config.data_path / "ended").open("a") as ended:
        ended.write(f"{role}\n")
    return code


def run_until_all_of_the_group_have_drained(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Run the role, and exit once every role that may stop at the same time has drained, too."""
    code = run_and_record_exit(role, config, address, name)
    group = next(({*group} for group in config.stop_order if role in group), {role})
    while not group <= {*(config.data_path / "ended").read_text().split()}:
        time.sleep(0.01)
    return code
