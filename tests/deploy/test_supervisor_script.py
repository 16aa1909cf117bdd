"""The supervisor script as its user meets it: signals, exit codes and one line for each error; and its example file."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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
    """Return the exit code and standard error of a script that ends by itself."""
    ended = subprocess.run(
        [sys.executable, SCRIPT, *arguments], capture_output=True, text=True, env=environment(), timeout=30, check=False
    )
    assert ended.stdout == ""
    return ended.returncode, ended.stderr


@contextmanager
def running(mesh: Path) -> Iterator[subprocess.Popen[str]]:
    """Give the script once its mesh is ready, and see in the end that it left no process behind."""
    command = [sys.executable, str(SCRIPT), str(mesh)]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stderr is not None
        assert any("mesh_ready" in line for line in process.stderr)
        family = {*descendants(process.pid)}
        assert len(family) == 10
        yield process
    assert not await_gone(family)


def children_of(process: subprocess.Popen[str], name: str) -> list[int]:
    return [pid for pid, called in descendants(process.pid).items() if called == name]


@pytest.mark.parametrize("arguments", [[], ["a.toml", "b.toml"]])
def test_wrong_usage_is_said_in_one_line_with_exit_code_2(arguments: list[str]) -> None:
    assert run(*arguments) == (2, "usage: python deploy/supervisor.py mesh.toml\n")


def test_an_unknown_key_is_said_in_one_line_with_exit_code_78(folder: Path) -> None:
    mesh = write_mesh(folder, "[supervisor]\npatience_s = 3\n")
    code, words = run(mesh)
    assert code == 78
    assert re.fullmatch(rf"gems: {mesh}: supervisor\.patience_s: expected .*, got .*\n", words)


def test_a_missing_file_is_said_in_one_line_with_exit_code_78(folder: Path) -> None:
    code, words = run(folder / "mesh.toml")
    assert code == 78
    assert words == f"gems: {folder}/mesh.toml: expected a readable TOML file, got: No such file or directory\n"


def test_two_owners_of_the_log_are_refused_with_exit_code_78(folder: Path) -> None:
    assert run(write_mesh(folder, "roles.memory.count = 2\n")) == (
        78,
        "gems: roles.memory.count: expected at most 1, because one process owns the log, got 2\n",
    )


def test_a_port_that_is_taken_is_said_in_one_line_with_exit_code_78(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        code, words = run(write_mesh(folder, f'router.address = "{address}"\n'))
    assert (code, words) == (78, f"gems: {address}: expected a free address, got one that is taken\n")


def test_a_path_too_long_for_a_socket_is_said_in_one_line_with_exit_code_78(folder: Path) -> None:
    runtime = folder / ("x" * 100)
    code, words = run(mesh_at(folder, runtime))
    assert code == 78
    assert re.fullmatch(
        rf"gems: router\.runtime_dir: expected .* a path of at most 107 bytes, got \d+ bytes: {runtime}\n", words
    )
    assert not runtime.exists()


def test_a_folder_that_cannot_be_made_is_said_in_one_line_with_exit_code_78(folder: Path) -> None:
    (folder / "file").write_text("")
    code, words = run(mesh_at(folder, folder / "file" / "runtime"))
    assert code == 78
    assert words == (
        f"gems: router.runtime_dir: expected a folder to write to, got {folder}/file/runtime: Not a directory\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_drains_the_mesh_and_ends_with_exit_code_0(folder: Path, number: signal.Signals) -> None:
    with running(write_mesh(folder)) as process:
        process.send_signal(number)
        _, words = process.communicate(timeout=20)
        assert process.returncode == 0
        assert words.count("actor_drained") == 9  # all roles but the router, and the supervisor itself


@pytest.mark.slow
def test_systemd_and_probes_are_told_how_the_mesh_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, socket.socket() as probe:
        manager.bind(str(folder / "notify"))
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        probe.bind(("127.0.0.1", 0))
        address = "{}:{}".format(*probe.getsockname())
        probe.close()
        with running(write_mesh(folder, f'metrics.address = "{address}"\n')) as process:
            told = [manager.recv(1000) for _ in range(4)]
            ready = b"READY=1\nSTATUS=9 processes, router at ipc://" + str(folder).encode() + b"/router.ipc"
            assert ready in told
            assert b"WATCHDOG=1" in told
            assert httpx.get(f"http://{address}/readyz").status_code == 200
            assert 'gems_role_workers{role="verifier"} 1\n' in httpx.get(f"http://{address}/metrics").text
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) == 0
            manager.setblocking(False)
            while (last := manager.recv(1000)) == b"WATCHDOG=1":
                pass
            assert last == b"STOPPING=1\nSTATUS=draining"


@pytest.mark.slow
def test_a_second_signal_kills_a_mesh_that_does_not_drain(folder: Path) -> None:
    with running(write_mesh(folder, "supervisor.grace_s = 60.0\n")) as process:
        (conductor,) = children_of(process, "gems-conductor")
        os.kill(conductor, signal.SIGSTOP)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 0


@pytest.mark.slow
def test_a_supervisor_that_gives_up_says_why_in_its_last_line_with_exit_code_1(folder: Path) -> None:
    with running(write_mesh(folder, "supervisor.max_restarts = 0\n")) as process:
        (planner,) = children_of(process, "gems-planner")
        os.kill(planner, signal.SIGKILL)
        _, words = process.communicate(timeout=20)
        assert process.returncode == 1
        assert words.splitlines()[-1] == (
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
        assert not await_gone(family, within_s=2.0)
    with running(mesh):
        pass


def test_the_example_file_says_the_defaults() -> None:
    assert load_config(EXAMPLE, environment={}) == MeshConfig()


def test_the_example_file_has_every_key_there_is(tmp_path: Path) -> None:
    whole = tmp_path / "mesh.toml"
    whole.write_text(re.sub(r"^# (\w+ = )", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE))
    text = whole.read_text().replace("conductor = { count = 1 }\n", "")
    whole.write_text(text)
    load_config(whole, environment={})
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
    return [
        path for path in missing if not path.endswith(spared) and not path.startswith(("chat.roles.", "chat.prices."))
    ]
