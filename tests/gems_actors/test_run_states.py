"""Every copy of the run states converges, in whatever order changes arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gems_actors.errors import OverloadedError
from gems_actors.run_states import MAX_RUN_STATES, WHOLE_RUN, RunStates, cancellation_of
from protocol.codec import decode_body, encode_body
from protocol.limits import MAX_FRAME_BYTES, MAX_REVISION
from protocol.messages import Control, Hello, RunPhase, RunState

RUN, TRAJECTORY = b"r" * 8, b"t" * 16
STATES: st.SearchStrategy[RunPhase] = st.sampled_from(("running", "paused", "cancelled"))
CHANGES = st.builds(
    RunState,
    run=st.sampled_from((RUN, b"s" * 8)),
    trajectory=st.sampled_from((WHOLE_RUN, TRAJECTORY)),
    state=STATES,
    by=st.sampled_from(("alice", "bob")),
    revision=st.integers(1, 4),
)


def kept(*run_states: RunState) -> RunStates:
    """Return a copy that received run states one after another."""
    found = RunStates()
    for state in run_states:
        found.merge([state])
    return found


@given(received=st.lists(CHANGES, max_size=8), data=st.data())
def test_the_order_of_changes_and_repeated_changes_make_no_difference(
    received: list[RunState], data: st.DataObject
) -> None:
    again = data.draw(st.permutations([*received, *received[:3]]))
    assert set(kept(*received).all()) == set(kept(*again).all())


def test_a_change_supersedes_all_that_its_maker_knew() -> None:
    first, second = RunStates(), RunStates()
    first.change(RUN, WHOLE_RUN, "pause", "alice")
    second.merge(first.all())
    second.change(RUN, WHOLE_RUN, "resume", "bob")
    first.merge(second.all())
    second.merge(first.all())
    assert (first.phase_of(RUN), second.phase_of(RUN)) == ("running", "running")


def test_a_run_s_phase_holds_for_its_trajectories_and_resuming_it_resumes_them() -> None:
    run_states = RunStates()
    steps: tuple[tuple[bytes, Control, RunPhase, RunPhase], ...] = (
        (TRAJECTORY, "pause", "running", "paused"),
        (WHOLE_RUN, "cancel", "cancelled", "cancelled"),
        (WHOLE_RUN, "pause", "cancelled", "cancelled"),
        (WHOLE_RUN, "resume", "running", "running"),
    )
    for trajectory, action, of_run, of_trajectory in steps:
        run_states.change(RUN, trajectory, action, "alice")
        assert (run_states.phase_of(RUN), run_states.phase_of(RUN, TRAJECTORY)) == (of_run, of_trajectory)


def test_setting_the_present_phase_changes_nothing() -> None:
    run_states = RunStates()
    assert run_states.change(RUN, WHOLE_RUN, "resume", "alice") == []
    assert len(run_states.change(RUN, WHOLE_RUN, "pause", "alice")) == 1
    assert run_states.change(RUN, WHOLE_RUN, "pause", "bob") == []


def test_beyond_the_limit_states_that_pause_nothing_are_forgotten() -> None:
    run_states = RunStates()
    run_states.change(RUN, WHOLE_RUN, "pause", "alice")
    for number in range(MAX_RUN_STATES + 10):
        run_states.change(number.to_bytes(8, "big"), WHOLE_RUN, "cancel", "alice")
    assert len(run_states.all()) == MAX_RUN_STATES
    assert run_states.phase_of(RUN) == "paused"
    assert run_states.phase_of((MAX_RUN_STATES + 9).to_bytes(8, "big")) == "cancelled"


def test_a_state_that_is_forgotten_at_once_is_not_reported_as_new() -> None:
    run_states = RunStates()
    old = RunState(run=RUN, trajectory=WHOLE_RUN, state="cancelled", revision=1)
    run_states.merge([old])
    for number in range(MAX_RUN_STATES):
        run_states.change(number.to_bytes(8, "big"), WHOLE_RUN, "cancel", "alice")
    assert old not in run_states.all()
    assert run_states.merge([old]) == []


def test_a_run_can_be_cancelled_however_many_are_paused() -> None:
    run_states = RunStates()
    for number in range(MAX_RUN_STATES):
        run_states.change(number.to_bytes(8, "big"), WHOLE_RUN, "pause", "alice")
    assert [state.state for state in run_states.change(RUN, WHOLE_RUN, "cancel", "alice")] == ["cancelled"]


def test_the_table_is_bounded_and_a_paused_run_without_requests_makes_room_for_another() -> None:
    run_states = RunStates()
    runs = [number.to_bytes(8, "big") for number in range(MAX_RUN_STATES)]
    for run in runs:
        run_states.change(run, WHOLE_RUN, "pause", "alice")
    with pytest.raises(OverloadedError, match="1000 runs and trajectories are paused, the maximum"):
        run_states.change(RUN, WHOLE_RUN, "pause", "bob")
    run_states.change(RUN, WHOLE_RUN, "pause", "bob", is_live=lambda run: run != runs[7])
    assert [run_states.phase_of(run) for run in (RUN, runs[6], runs[7])] == ["paused", "paused", "running"]
    more = [
        RunState(run=number.to_bytes(8, "big"), trajectory=TRAJECTORY, state="paused", revision=5000 + number)
        for number in range(3 * MAX_RUN_STATES)
    ]
    run_states.merge(more)
    assert len(run_states.all()) == MAX_RUN_STATES


def test_all_run_states_fit_a_frame() -> None:
    run_states = RunStates()
    by = "\N{SPEAK-NO-EVIL MONKEY}" * 200
    states = (
        RunState(run=bytes(8), trajectory=number.to_bytes(16, "big"), state="cancelled", by=by, revision=MAX_REVISION)
        for number in range(2 * MAX_RUN_STATES)
    )
    run_states.merge(states)
    assert len(encode_body(Hello(name="x", run_states=run_states.all()))) < MAX_FRAME_BYTES / 2


def test_a_change_fits_the_wire_at_the_highest_revision() -> None:
    run_states = RunStates()
    run_states.merge([RunState(run=RUN, trajectory=WHOLE_RUN, state="running", revision=MAX_REVISION)])
    (state,) = run_states.change(RUN, WHOLE_RUN, "pause", "alice")
    assert decode_body(encode_body(Hello(name="x", run_states=(state,)))) == Hello(name="x", run_states=(state,))


@pytest.mark.parametrize("revision", [MAX_REVISION // 2, MAX_REVISION // 2 + 1, MAX_REVISION])
def test_a_run_can_be_resumed_whatever_revision_a_process_told_the_router(revision: int) -> None:
    router, process = RunStates(), RunStates()
    paused = RunState(run=RUN, trajectory=WHOLE_RUN, state="paused", revision=revision)
    router.merge_told([paused])
    assert router.is_paused((RUN, WHOLE_RUN)) == (revision <= MAX_REVISION // 2)
    router.change(RUN, WHOLE_RUN, "pause", "alice")
    process.merge(router.all())
    for action, phase in (("resume", "running"), ("pause", "paused"), ("resume", "running")):
        router.change(RUN, WHOLE_RUN, action, "alice")  # type: ignore[arg-type]
        process.merge(router.all())
        assert router.phase_of(RUN) == process.phase_of(RUN) == phase


def test_every_change_has_the_next_revision() -> None:
    states = RunStates()
    for revision, action in ((1, "pause"), (2, "cancel"), (3, "resume")):
        (state,) = states.change(RUN, WHOLE_RUN, action, "alice")  # type: ignore[arg-type]
        assert state.revision == revision


def test_a_cancelled_trajectory_cannot_be_paused_alone() -> None:
    states = RunStates()
    states.change(RUN, TRAJECTORY, "cancel", "alice")
    assert states.change(RUN, TRAJECTORY, "pause", "bob") == []
    assert states.phase_of(RUN, TRAJECTORY) == "cancelled"


@pytest.mark.parametrize(
    ("trajectory", "by", "text"),
    [
        (WHOLE_RUN, "alice", "the run was cancelled by alice"),
        (TRAJECTORY, "", f"the trajectory {TRAJECTORY.hex()} was cancelled by somebody"),
    ],
)
def test_a_cancellation_names_what_was_cancelled_and_by_whom(trajectory: bytes, by: str, text: str) -> None:
    state = RunState(run=RUN, trajectory=trajectory, state="cancelled", by=by, revision=1)
    assert str(cancellation_of(state)) == text
