"""What processes of a test mesh run in place of `run_role`; imported by their zygote."""

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


def repeat_its_orders(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Write to `address`, a file, what it was called with and what it inherited, and end with exit code 7."""
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
        "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    }
    Path(address).write_text(json.dumps(seen))
    return 7


def sleep(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Stay until killed; a role called `deaf` even by SIGTERM."""
    if role == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(1000)


def leave_a_grandchild(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Start a process of its own, write the pid to `address`, and end without it."""
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    Path(address).write_text(str(grandchild.pid))
    os._exit(0)


def crash(role: str, config: MeshConfig, address: str, name: str) -> int:
    """End with a traceback."""
    raise RuntimeError("as the test wants it")


def end_at_once(role: str, config: MeshConfig, address: str, name: str) -> int:
    """End with exit code 0."""
    return 0


def play_with_a_deaf_verifier(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Play the role, but a verifier that no SIGTERM reaches."""
    return sleep("deaf", config, address, name) if role == "verifier" else run_role(role, config, address, name)


def play_with_a_verifier_that_crashes(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Play the role, but a verifier that ends at once with exit code 3."""
    return 3 if role == "verifier" else run_role(role, config, address, name)


def play_with_a_misconfigured_generator(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Play the role, but a generator that says that it can never run."""
    return 78 if role == "generator" else run_role(role, config, address, name)


def play_with_room_for_one_generator(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Play the role, but a second generator that says that it can never run here."""
    return 78 if name.startswith("generator-2") else run_role(role, config, address, name)


def play_and_sign_off(role: str, config: MeshConfig, address: str, name: str) -> int:
    """Play the role, and add its name to the file `ended` in the data folder when it has drained."""
    code = run_role(role, config, address, name)
    with (config.data_path / "ended").open("a") as ended:
        ended.write(f"{role}\n")
    return code
