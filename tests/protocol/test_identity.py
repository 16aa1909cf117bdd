"""The same thing has the same name on every machine and in every version."""

from hypothesis import given
from hypothesis import strategies as st

from protocol.identity import attempt_seed, digest_of, run_bytes, trajectory_id

SEEDS = st.integers(0, 2**32 - 1)


def test_names_do_not_change_between_versions() -> None:
    assert run_bytes("mesh").hex() == "0cc7459d1269047f"
    assert trajectory_id("night", 3, 1) == "7011d00592a778933efe5312f304bba9"
    assert attempt_seed(7, 2, 1) == 4_277_664_804
    assert digest_of(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(st.text(), st.text())
def test_a_run_is_8_bytes_that_follow_from_its_name(one: str, other: str) -> None:
    assert len(run_bytes(one)) == 8
    assert (run_bytes(one) == run_bytes(other)) == (one == other)


TASKS = st.tuples(st.text(st.characters(codec="utf-8") | st.just("\0")), st.integers(0, 99), st.integers(0, 99))


@given(TASKS, TASKS)
def test_a_trajectory_is_named_by_run_line_and_sample(one: tuple[str, int, int], other: tuple[str, int, int]) -> None:
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
