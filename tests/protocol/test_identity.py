"""Ids are the same on every machine and in every version."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from protocol.identity import attempt_seed, digest_of, run_bytes, shard_of, trajectory_id

SEEDS = st.integers(0, 2**32 - 1)


def test_ids_do_not_change_between_versions() -> None:
    assert run_bytes("mesh").hex() == "0cc7459d1269047f"
    assert trajectory_id("night", 3, 1) == "7011d00592a778933efe5312f304bba9"
    assert trajectory_id("night", 3, 1, task=f"{255:016x}") == "de99270a095a14aac408e02f645a08ac"
    assert attempt_seed(7, 2, 1) == 4_277_664_804
    assert digest_of(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(st.text(), st.text())
def test_a_run_id_is_8_bytes_derived_from_the_name(one: str, other: str) -> None:
    assert len(run_bytes(one)) == 8
    assert (run_bytes(one) == run_bytes(other)) == (one == other)


TASKS = st.tuples(st.text(st.characters(codec="utf-8") | st.just("\0")), st.integers(0, 99), st.integers(0, 99))


@given(TASKS, TASKS)
def test_a_trajectory_id_is_derived_from_run_line_and_sample(
    one: tuple[str, int, int], other: tuple[str, int, int]
) -> None:
    assert len(bytes.fromhex(trajectory_id(*one))) == 16
    assert (trajectory_id(*one) == trajectory_id(*other)) == (one == other)


@given(SEEDS)
def test_the_first_attempt_is_drawn_with_the_seed_of_its_trajectory(seed: int) -> None:
    assert attempt_seed(seed, 1, 1) == seed


@given(SEEDS, st.integers(1, 64), st.integers(1, 64))
def test_every_attempt_has_a_seed_of_32_bits(seed: int, round_: int, candidate: int) -> None:
    assert 0 <= attempt_seed(seed, round_, candidate) < 2**32


def test_attempts_of_one_trajectory_are_drawn_with_different_seeds() -> None:
    seeds = {attempt_seed(7, round_, candidate) for round_ in range(1, 65) for candidate in range(1, 65)}
    assert len(seeds) == 64 * 64


def test_trajectories_spread_evenly_over_shards() -> None:
    derived = [bytes.fromhex(trajectory_id("run", line, 0)) for line in range(5_000)]
    counted = [line.to_bytes(16, "big") for line in range(1, 5_001)]
    for ids in (derived, counted):
        for shards in (2, 3, 5, 16):
            counts = Counter(shard_of(id_, shards) for id_ in ids)
            assert sorted(counts) == list(range(shards))
            assert max(counts.values()) < 1.2 * 5_000 / shards
            assert min(counts.values()) > 0.8 * 5_000 / shards


def test_a_trajectory_stays_where_it_is_or_goes_to_a_new_shard_when_shards_are_added() -> None:
    ids = [bytes.fromhex(trajectory_id("run", line, 0)) for line in range(2000)]
    moved = [(shard_of(id_, 3), shard_of(id_, 5)) for id_ in ids if shard_of(id_, 3) != shard_of(id_, 5)]
    assert all(after >= 3 for _, after in moved)
    assert 0.35 < len(moved) / len(ids) < 0.45


def test_the_home_shard_does_not_change_between_versions() -> None:
    ids = [bytes.fromhex(trajectory_id("run", line, 0)) for line in range(12)]
    assert [shard_of(id_, 7) for id_ in ids] == [4, 2, 0, 5, 5, 6, 4, 1, 2, 3, 5, 5]
    assert shard_of(bytes(16), 7) == 0
