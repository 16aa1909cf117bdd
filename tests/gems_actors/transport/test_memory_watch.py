"""An inquiry finds the connections that memory grows for, and leaves honest ones alone."""

from __future__ import annotations

from collections.abc import Mapping

from gems_actors.transport.connections import Connection
from gems_actors.transport.memory_watch import ALLOWANCE_BYTES, SILENCE_S, Inquiry

MIB = 1024 * 1024
MUCH = ALLOWANCE_BYTES + 1


class Scene:
    """Looks at connections by number, a hundredth of a second apart."""

    def __init__(self) -> None:
        self.inquiry = Inquiry(8 * MIB)
        self.now = 0.0

    def look(
        self,
        *connections: Connection,
        grown: int = MUCH,
        delivered: Mapping[int, int] | None = None,
        is_drained: bool = True,
    ) -> list[int]:
        """Return the numbers of the connections that are to be cut."""
        self.now += 0.01
        found = self.inquiry.look(self.now, grown, connections, delivered or {}, is_drained=is_drained)
        return [one.descriptor for one, _ in found]


def tcp(number: int, taken_bytes: int, unsent: tuple[int, int] = (0, 0)) -> Connection:
    return Connection(number, number, taken_bytes, 0, unsent)


def ipc(number: int, unread_bytes: int, unsent: tuple[int, int] = (0, 0)) -> Connection:
    return Connection(number, number, None, unread_bytes, unsent)


def test_bytes_without_a_message_cost_a_connection_once_memory_has_grown() -> None:
    scene = Scene()
    for taken in (0, MIB, 2 * MIB):
        assert scene.look(tcp(1, taken), tcp(2, 0), grown=ALLOWANCE_BYTES) == []
    assert scene.look(tcp(1, 2 * MIB), tcp(2, 0)) == [1]


def test_a_message_without_an_end_costs_a_connection_whatever_memory_does() -> None:
    scene = Scene()
    for taken in (0, 9 * MIB):
        assert scene.look(tcp(1, taken), grown=0) == []
    assert scene.look(tcp(1, 9 * MIB), grown=0) == [1]


def test_messages_count_for_a_connection() -> None:
    scene = Scene()
    for number in range(1, 60):
        assert scene.look(tcp(1, number * MIB), delivered={1: MIB}) == []


def test_a_flood_that_cannot_be_caught_up_with_costs_the_busiest_connection() -> None:
    scene = Scene()
    cut: list[int] = []
    for _ in range(30):
        cut += scene.look(ipc(1, 0), ipc(2, 0), grown=2 * MUCH, delivered={1: 10, 2: 9000}, is_drained=False)
    assert {*cut} == {2}


def test_silence_means_nothing_while_messages_wait_to_be_received() -> None:
    scene = Scene()
    for number in range(30):
        assert scene.look(tcp(1, number * MIB), is_drained=False) == []


def test_whole_messages_that_are_never_caught_up_with_cost_a_connection() -> None:
    scene = Scene()
    cut: list[int] = []
    for number in range(100):
        cut += scene.look(tcp(1, number * MIB), delivered={1: 1000})
    assert cut


def test_of_ipc_bytes_that_keep_waiting_without_a_message_are_the_sign() -> None:
    scene = Scene()
    assert scene.look(ipc(1, 5000), ipc(2, 0), ipc(3, 5000)) == []
    assert scene.look(ipc(1, 5000), ipc(2, 10), ipc(3, 5000), delivered={3: 100}) == [1]


def test_a_peer_that_takes_nothing_is_cut_and_one_that_is_slow_is_not() -> None:
    scene = Scene()
    cut: list[int] = []
    for number in range(60):
        cut += scene.look(
            tcp(1, 0, (1000, 77)), tcp(2, 0, (1000, number)), ipc(3, 0, (1000, 0)), ipc(4, 0, (number, 0))
        )
    assert {*cut} == {1, 3}


def test_a_connection_that_was_silent_for_long_and_may_hold_something_is_named_at_the_end() -> None:
    scene = Scene()
    connections = tcp(1, 0), tcp(2, 0), ipc(3, 0), ipc(4, 0)
    while scene.now < SILENCE_S:
        scene.look(*connections, grown=0, delivered={4: 10})
        connections = tcp(1, 0), tcp(2, int(scene.now * MIB / 2)), ipc(3, 0), ipc(4, 0)
    scene.look(*connections, grown=0, delivered={4: 10})
    assert [one.descriptor for one in scene.inquiry.silent(scene.now, connections)] == [2, 3]
