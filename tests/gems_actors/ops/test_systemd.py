"""What systemd is told, at a real datagram socket."""

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
    """The socket at which systemd listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(5)
        listener.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listener


def beat_for(seconds: float) -> bool:
    """Keep the watchdog for so long at most, and return whether it was still kept then."""

    async def main() -> bool:
        with trio.move_on_after(seconds) as scope:
            await keep_watchdog()
        return scope.cancelled_caught

    return trio.run(main)


def test_what_is_told_arrives_as_lines(manager: socket.socket) -> None:
    notify("READY=1", "STATUS=nine processes")
    assert manager.recv(100) == b"READY=1\nSTATUS=nine processes"


def test_an_abstract_socket_is_found_by_its_at_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"gems-notify-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(5)
        listener.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify("STOPPING=1")
        assert listener.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("place", [None, "", "vsock:2:1234", "/nowhere/at/all", "/" + "x" * 200])
def test_where_nobody_listens_nothing_happens(place: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if place is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", place)
    notify("READY=1")


def test_a_manager_that_does_not_read_holds_nobody_up(manager: socket.socket) -> None:
    for _ in range(10_000):
        notify("WATCHDOG=1")


def test_the_watchdog_is_told_twice_in_each_period(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert beat_for(0.1)
    assert [manager.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3


@pytest.mark.parametrize(("period", "pid"), [("", None), ("0", None), ("soon", None), ("20000", "1")])
def test_no_watchdog_is_kept_where_none_is_asked_for(
    period: str, pid: str | None, manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", period)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    if pid is not None:
        monkeypatch.setenv("WATCHDOG_PID", pid)
    assert not beat_for(5)
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(100)
