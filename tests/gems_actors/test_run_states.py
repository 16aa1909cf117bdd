"""Whoever keeps marks comes to the same, however they reach him."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gems_actors.run_states import MAX_MARKS, WHOLE_RUN, RunStates
from protocol.codec import decode_body, encode_body
from protocol.limits import MAX_REVISION
from protocol.messages import Control, Hello, RunPhase, RunState

RUN, TRAJECTORY = b"r" * 8, b"t" * 16
STATES: st.SearchStrategy[RunPhase] = st.sampled_from(("running", "paused", "cancelled"))
MARKS = st.builds(
    RunState,
    run=st.sampled_from((RUN, b"s" * 8)),
    trajectory=st.sampled_from((WHOLE_RUN, TRAJECTORY)),
    state=STATES,
    by=st.sampled_from(("alice", "bob")),
    revision=st.integers(1, 4),
)


def kept(*marks: RunState) -> RunStates:
    """Return somebody who was told of marks, one after another."""
    found = RunStates()
    for mark in marks:
        found.merge([mark])
    return found


@given(told=st.lists(MARKS, max_size=8), data=st.data())
def test_the_order_in_which_marks_come_and_how_often_makes_no_difference(
    told: list[RunState], data: st.DataObject
) -> None:
    again = data.draw(st.permutations([*told, *told[:3]]))
    assert set(kept(*told).all()) == set(kept(*again).all())


def test_a_change_outdoes_all_that_its_maker_knew_of() -> None:
    first, second = RunStates(), RunStates()
    first.change(RUN, WHOLE_RUN, "pause", "alice")
    second.merge(first.all())
    second.change(RUN, WHOLE_RUN, "resume", "bob")
    first.merge(second.all())
    second.merge(first.all())
    assert (first.state_of(RUN), second.state_of(RUN)) == ("running", "running")


def test_what_a_run_is_all_of_its_trajectories_are_and_resuming_it_resumes_them() -> None:
    marks = RunStates()
    steps: tuple[tuple[bytes, Control, RunPhase, RunPhase], ...] = (
        (TRAJECTORY, "pause", "running", "paused"),
        (WHOLE_RUN, "cancel", "cancelled", "cancelled"),
        (WHOLE_RUN, "pause", "cancelled", "cancelled"),
        (WHOLE_RUN, "resume", "running", "running"),
    )
    for trajectory, action, of_run, of_trajectory in steps:
        marks.change(RUN, trajectory, action, "alice")
        assert (marks.state_of(RUN), marks.state_of(RUN, TRAJECTORY)) == (of_run, of_trajectory)


def test_to_ask_for_what_is_so_already_changes_nothing() -> None:
    marks = RunStates()
    assert marks.change(RUN, WHOLE_RUN, "resume", "alice") == []
    assert len(marks.change(RUN, WHOLE_RUN, "pause", "alice")) == 1
    assert marks.change(RUN, WHOLE_RUN, "pause", "bob") == []


def test_of_too_many_marks_those_are_forgotten_that_pause_nothing() -> None:
    marks = RunStates()
    marks.change(RUN, WHOLE_RUN, "pause", "alice")
    for number in range(MAX_MARKS + 10):
        marks.change(number.to_bytes(8, "big"), WHOLE_RUN, "cancel", "alice")
    assert len(marks.all()) == MAX_MARKS
    assert marks.state_of(RUN) == "paused"
    assert marks.state_of((MAX_MARKS + 9).to_bytes(8, "big")) == "cancelled"


def test_a_mark_that_is_forgotten_at_once_is_no_news() -> None:
    marks = RunStates()
    old = RunState(run=RUN, trajectory=WHOLE_RUN, state="cancelled", revision=1)
    marks.merge([old])
    for number in range(MAX_MARKS):
        marks.change(number.to_bytes(8, "big"), WHOLE_RUN, "cancel", "alice")
    assert old not in marks.all()
    assert marks.merge([old]) == []


def test_a_run_can_be_cancelled_however_many_are_paused() -> None:
    marks = RunStates()
    for number in range(MAX_MARKS):
        marks.change(number.to_bytes(8, "big"), WHOLE_RUN, "pause", "alice")
    assert [mark.state for mark in marks.change(RUN, WHOLE_RUN, "cancel", "alice")] == ["cancelled"]


def test_a_change_fits_the_wire_whatever_a_peer_told_of_revisions() -> None:
    marks = RunStates()
    marks.merge([RunState(run=RUN, trajectory=WHOLE_RUN, state="running", revision=MAX_REVISION)])
    (mark,) = marks.change(RUN, WHOLE_RUN, "pause", "alice")
    assert decode_body(encode_body(Hello(name="x", marks=(mark,)))) == Hello(name="x", marks=(mark,))
