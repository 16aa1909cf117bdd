"""Messages to systemd, at a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from gems_actors.ops.systemd import keep_watchdog, notify


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of the service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(60)
        listener.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listener


def test_lines_are_sent_in_one_datagram(manager: socket.socket) -> None:
    notify("READY=1", "STATUS=nine processes")
    assert manager.recv(100) == b"READY=1\nSTATUS=nine processes"


def test_an_at_sign_names_an_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"gems-notify-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(60)
        listener.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify("STOPPING=1")
        assert listener.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("path", [None, "", "vsock:2:1234", "/nowhere/at/all", "/" + "x" * 200])
def test_notify_does_nothing_without_a_listener(path: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if path is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", path)
    notify("READY=1")


def test_notify_does_not_block_on_a_manager_that_does_not_read(manager: socket.socket) -> None:
    for _ in range(10_000):
        notify("WATCHDOG=1")


@pytest.mark.virtual_time
async def test_the_watchdog_is_pinged_twice_per_period(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    with trio.move_on_after(25.0):
        await keep_watchdog()
    manager.setblocking(False)
    assert [manager.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    with pytest.raises(BlockingIOError):
        manager.recv(100)


@pytest.mark.parametrize(("period", "pid"), [("", None), ("0", None), ("soon", None), ("20000", "1")])
async def test_no_pings_are_sent_without_a_watchdog(
    period: str, pid: str | None, manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", period)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    if pid is not None:
        monkeypatch.setenv("WATCHDOG_PID", pid)
    await keep_watchdog()
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(100)
