"""The supervisor script as seen by its user: signals, exit codes, one line per error; and its example file."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import httpx
import msgspec
import pytest

from gems_actors.config import MeshConfig, load_config
from tests.processes import await_gone, descendants, environment, started

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "supervisor.py"
EXAMPLE = ROOT / "deploy" / "mesh.toml"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="gems-") as path:
        yield Path(path)


def mesh_at(folder: Path, runtime: Path) -> Path:
    mesh = folder / "mesh.toml"
    mesh.write_text(f'router.runtime_dir = "{runtime}"\n')
    return mesh


def write_mesh(folder: Path, text: str = "") -> Path:
    mesh = folder / "mesh.toml"
    mesh.write_text(f'data_dir = "{folder}/data"\nrouter.runtime_dir = "{folder}"\n{text}')
    return mesh


def run(*arguments: str | Path) -> tuple[int, str]:
    """Run the script until it exits, and return its exit code and standard error."""
    ended = subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=120,
        check=False,
    )
    assert ended.stdout == ""
    return ended.returncode, ended.stderr


@contextmanager
def running(mesh: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the script, yield it once its mesh is ready, and check at the end that no process is left."""
    command = [sys.executable, str(SCRIPT), str(mesh)]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stderr is not None
        assert any("mesh_ready" in line for line in process.stderr)
        family = {*descendants(process.pid)}
        assert len(family) == 10
        yield process
    assert not await_gone(family)


def children_of(process: subprocess.Popen[str], name: str) -> list[int]:
    return [pid for pid, title in descendants(process.pid).items() if title == name]


@pytest.mark.parametrize("arguments", [[], ["a.toml", "b.toml"]])
def test_wrong_usage_is_one_line_with_exit_code_2(arguments: list[str]) -> None:
    assert run(*arguments) == (2, "usage: python deploy/supervisor.py mesh.toml\n")


@pytest.mark.slow
def test_an_unknown_key_is_one_line_with_exit_code_78(folder: Path) -> None:
    mesh = write_mesh(folder, "[supervisor]\npatience_s = 3\n")
    code, stderr = run(mesh)
    assert code == 78
    assert re.fullmatch(rf"gems: {mesh}: supervisor\.patience_s: expected .*, got .*\n", stderr)


@pytest.mark.slow
def test_a_missing_file_is_one_line_with_exit_code_78(folder: Path) -> None:
    code, stderr = run(folder / "mesh.toml")
    assert code == 78
    assert stderr == f"gems: {folder}/mesh.toml: expected a readable TOML file, got: No such file or directory\n"


@pytest.mark.slow
def test_two_owners_of_the_log_are_refused_with_exit_code_78(folder: Path) -> None:
    assert run(write_mesh(folder, "roles.memory.count = 2\n")) == (
        78,
        "gems: roles.memory.count: expected at most 1, because one process owns the log, got 2\n",
    )


@pytest.mark.slow
def test_a_port_that_is_taken_is_one_line_with_exit_code_78(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        code, stderr = run(write_mesh(folder, f'router.address = "{address}"\n'))
    assert (code, stderr) == (78, f"gems: {address}: expected a free address, got one that is taken\n")


@pytest.mark.slow
def test_a_path_too_long_for_a_socket_is_one_line_with_exit_code_78(folder: Path) -> None:
    runtime = folder / ("x" * 100)
    code, stderr = run(mesh_at(folder, runtime))
    assert code == 78
    assert re.fullmatch(
        rf"gems: router\.runtime_dir: expected .* a path of at most 107 bytes, got \d+ bytes: {runtime}\n", stderr
    )
    assert not runtime.exists()


@pytest.mark.slow
def test_a_folder_that_cannot_be_created_is_one_line_with_exit_code_78(folder: Path) -> None:
    (folder / "file").write_text("")
    code, stderr = run(mesh_at(folder, folder / "file" / "runtime"))
    assert code == 78
    assert stderr == (
        f"gems: router.runtime_dir: expected a folder to write to, got {folder}/file/runtime: Not a directory\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_drains_the_mesh_and_ends_with_exit_code_0(folder: Path, number: signal.Signals) -> None:
    with running(write_mesh(folder)) as process:
        process.send_signal(number)
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 0
        assert stderr.count("actor_drained") == 9  # all roles but the router, and the supervisor itself


@contextmanager
def open_service_manager(path: Path) -> Iterator[SimpleQueue[bytes]]:
    """Listen as systemd does, and yield the messages; they are read at once, because a full socket drops them."""
    messages: SimpleQueue[bytes] = SimpleQueue()

    def read() -> None:
        while message := listener.recv(1000):
            messages.put(message)

    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener,
        socket.socket(listener.family, listener.type) as end,
    ):
        listener.bind(str(path))
        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield messages
        finally:
            end.sendto(b"", str(path))
            reader.join()


def fetch(url: str) -> str:
    """Return what a URL answers, as soon as it answers with 200."""
    end = time.monotonic() + 240
    while time.monotonic() < end:
        with suppress(httpx.HTTPError):
            if (answer := httpx.get(url)).status_code == 200:
                return answer.text
        time.sleep(0.1)
    raise AssertionError(f"expected {url} to answer with 200")


@pytest.mark.slow
def test_systemd_and_probes_see_the_state_of_the_mesh(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_service_manager(folder / "notify") as messages:
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            address = "{}:{}".format(*probe.getsockname())
        with running(write_mesh(folder, f'metrics.address = "{address}"\n')) as process:
            ready = b"READY=1\nSTATUS=9 processes, router at ipc://" + str(folder).encode() + b"/router.ipc"
            while messages.get(timeout=120) != ready:
                pass
            assert messages.get(timeout=120) == b"WATCHDOG=1"
            fetch(f"http://{address}/readyz")
            assert 'gems_role_workers{role="verifier"} 1\n' in fetch(f"http://{address}/metrics")
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=120) == 0
            while (last := messages.get(timeout=120)) == b"WATCHDOG=1":
                pass
            assert last == b"STOPPING=1\nSTATUS=draining"


@pytest.mark.slow
def test_a_second_signal_kills_a_mesh_that_does_not_drain(folder: Path) -> None:
    with running(write_mesh(folder, "supervisor.grace_s = 3600.0\n")) as process:
        (conductor,) = children_of(process, "gems-conductor")
        os.kill(conductor, signal.SIGSTOP)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 0


@pytest.mark.slow
def test_a_supervisor_that_gives_up_ends_with_the_reason_and_exit_code_1(folder: Path) -> None:
    with running(write_mesh(folder, "supervisor.max_restarts = 0\n")) as process:
        (planner,) = children_of(process, "gems-planner")
        os.kill(planner, signal.SIGKILL)
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 1
        assert stderr.splitlines()[-1] == (
            "gems: planner: ended once within 30 s, expected at most 0; the last time with signal SIGKILL"
        )


@pytest.mark.slow
def test_a_second_mesh_in_the_same_folder_is_refused_with_exit_code_78(folder: Path) -> None:
    mesh = write_mesh(folder)
    with running(mesh) as process:
        assert run(mesh) == (
            78,
            f"gems: {folder}/mesh.lock: expected a folder that no mesh uses, got one held by process {process.pid}\n",
        )


@pytest.mark.slow
def test_a_killed_script_takes_every_process_with_it_and_frees_the_folder(folder: Path) -> None:
    mesh = write_mesh(folder)
    with running(mesh) as process:
        family = {*descendants(process.pid)}
        process.kill()
        assert not await_gone(family)
    with running(mesh):
        pass


def test_the_example_file_has_the_defaults() -> None:
    assert load_config(EXAMPLE, environment={}) == MeshConfig()


def test_the_example_file_has_every_key(tmp_path: Path) -> None:
    uncommented = tmp_path / "mesh.toml"
    uncommented.write_text(re.sub(r"^# (\w+ = )", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE))
    text = uncommented.read_text().replace("conductor = { count = 1 }\n", "")
    uncommented.write_text(text)
    load_config(uncommented, environment={})
    assert not _missing_keys(MeshConfig, tomllib.loads(text))


def _missing_keys(record: type[Any], found: dict[str, Any], at: str = "") -> list[str]:
    missing = []
    for field in msgspec.structs.fields(record):
        path = f"{at}{field.name}"
        if field.name not in found:
            missing.append(path)
        elif isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            missing += _missing_keys(field.type, found[field.name], f"{path}.")
    spared = (".capacity", ".min", ".max", ".target_delay_s") if at != "roles.conductor." else ()
    alike = (
        "chat.roles.",
        "chat.prices.",
        "verify.thresholds.",
        "storyboard.verifier_error.",
    )  # by role, price or kind
    return [path for path in missing if not path.endswith(spared) and not path.startswith(alike)]
