"""Requests are found by id and by run, deadlines pass once, and answers are kept within limits."""

from __future__ import annotations

from msgspec import structs

from gems_actors.router.queues import Ticket
from gems_actors.router.tables import Answers, Deadlines, Tickets
from protocol.envelope import Header, Kind
from tests.gems_actors.router.dispatching import id_of

RUN, OTHER = b"r" * 8, b"o" * 8


def ticket(number: int, run: bytes = RUN) -> Ticket:
    return Ticket(Header(Kind.REQUEST, id_of(number), "worker", run=run), b"", None, 0.0)


def test_a_request_is_found_under_the_run_that_its_client_names_after_an_actor_told_only_its_id() -> None:
    tickets, found = Tickets(), ticket(1, bytes(8))
    tickets.add(found)
    tickets.replace_header(found, structs.replace(found.header, run=RUN))
    assert (tickets.of_run(RUN), tickets.has_run(bytes(8)), tickets.get(id_of(1))) == ([found], False, found)
    tickets.remove(found)
    assert (tickets.of_run(RUN), tickets.has_run(RUN), len(tickets), id_of(1) in tickets) == ([], False, 0, False)


def test_the_requests_of_a_run_are_those_of_no_other() -> None:
    tickets = Tickets()
    for number in range(4):
        tickets.add(ticket(number, OTHER if number % 2 else RUN))
    assert [item.header.id for item in tickets.of_run(OTHER)] == [id_of(1), id_of(3)]
    assert len(list(tickets)) == len(tickets) == 4


def test_only_the_last_deadline_of_a_request_in_flight_passes() -> None:
    tickets = Tickets()
    deadlines = Deadlines(tickets)
    moved, answered = ticket(1), ticket(2)
    for item in (moved, answered):
        tickets.add(item)
        deadlines.set(item, 5.0)
    deadlines.set(moved, 7.0)
    tickets.remove(answered)
    assert [deadlines.due(now) for now in (4.9, 5.0, 6.9, 7.0, 9.0)] == [[], [], [], [moved], []]


def test_deadlines_pass_at_their_own_times_in_whatever_order_they_were_set() -> None:
    tickets = Tickets()
    deadlines = Deadlines(tickets)
    late, soon, later, none = (ticket(number) for number in range(4))
    for item in (late, soon, later, none):
        tickets.add(item)
    for item, deadline in ((late, 5.0), (soon, 2.0), (later, 8.0)):
        deadlines.set(item, deadline)
    assert [deadlines.due(now) for now in (1.0, 2.5, 4.0, 5.5, 100.0)] == [[], [soon], [], [late], [later]]


def test_the_oldest_answers_make_room_for_new_ones() -> None:
    answers = Answers(10)
    for number in range(3):
        answers.keep(id_of(number), bytes(4))
    assert [id_of(number) in answers for number in range(3)] == [False, True, True]
    assert (len(answers), answers.size) == (2, 8)
