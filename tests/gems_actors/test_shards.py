"""The role names of shards, and the shards that are home to a trajectory."""

from __future__ import annotations

from msgspec import structs

from gems_actors.shards import address_of_shard, homes_of, role_of_shard, shard_of_role, to_shard
from protocol.envelope import Header, Kind
from protocol.identity import trajectory_id


def test_a_role_name_stands_for_its_shard() -> None:
    for shard in range(256):
        assert shard_of_role(role_of_shard(shard)) == shard
        assert shard_of_role(address_of_shard(shard)) == shard
    assert [shard_of_role(role) for role in ("memory_256", "memory_", "memory_x", "verifier")] == [None] * 4


def test_a_request_goes_to_the_home_of_its_trajectory_unless_it_names_a_shard() -> None:
    for line in range(50):
        id_ = trajectory_id("run", line, 0)
        header = Header(Kind.REQUEST, role="memory", trajectory=bytes.fromhex(id_))
        assert to_shard(header, 1) == header
        assert shard_of_role(to_shard(header, 3).role) == homes_of(id_, (3,))[0]
        for shards in (1, 3):
            assert to_shard(structs.replace(header, role="memory_0"), shards).role == "memory"
            assert to_shard(structs.replace(header, role="memory_2"), shards).role == "memory_2"
            assert to_shard(structs.replace(header, role="verifier"), shards).role == "verifier"


def test_the_homes_of_a_trajectory_begin_with_the_current_one() -> None:
    for line in range(50):
        id_ = trajectory_id("run", line, 0)
        of_three, of_five = homes_of(id_, (3,)), homes_of(id_, (5,))
        assert homes_of(id_, (1,)) == [0]
        assert homes_of(id_, (1, 3, 1, 5)) == list(dict.fromkeys([*of_five, 0, *of_three]))
