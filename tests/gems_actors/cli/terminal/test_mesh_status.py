"""The lines of `gems status`."""

from gems_actors.cli.terminal.mesh_status import status_lines
from protocol.messages import MeshStatus, RoleStatus


def test_shards_of_memory_are_sorted_by_number() -> None:
    names = ("memory_10", "verifier", "memory_2", "memory", "conductor")
    roles = tuple(RoleStatus(role=name, queued=0, oldest_s=0.0, actors=()) for name in names)
    lines = status_lines(MeshStatus(epoch="e", uptime_s=1.0, roles=roles, clients=0, requeued=0))
    assert [line.split()[0] for line in lines][1:-1] == ["conductor", "verifier", "memory", "memory_2", "memory_10"]
