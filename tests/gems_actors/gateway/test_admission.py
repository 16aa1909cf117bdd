"""How many pictures are admitted at once."""

from __future__ import annotations

import pytest

from gems_actors.errors import OverloadedError
from gems_actors.gateway.admission import Admission


def test_pictures_beyond_the_limit_are_refused_until_others_end() -> None:
    admission = Admission(4)
    admission.admit(3, 0.0)
    with pytest.raises(OverloadedError, match="room for 2 of 4"):
        admission.admit(2, 0.0)
    admission.admit(1, 0.0)
    admission.end(3, 2.0, is_drawn=True)
    admission.admit(2, 0.0)
    assert (admission.in_flight, admission.refused) == (3, 1)


def test_the_time_to_come_back_follows_what_pictures_take() -> None:
    def retry_after(took_s: float) -> float:
        admission = Admission(10)
        for _ in range(100):
            admission.admit(1, 0.0)
            admission.end(1, took_s, is_drawn=True)
        admission.admit(10, 0.0)
        with pytest.raises(OverloadedError) as caught:
            admission.admit(5, 0.0)
        return caught.value.retry_after_s

    assert retry_after(0.1) == 1.0
    assert retry_after(40.0) == pytest.approx(20.0, rel=0.01)
    assert retry_after(10_000.0) == 60.0


def test_clients_that_are_refused_come_back_one_after_another() -> None:
    admission = Admission(10)
    for _ in range(100):
        admission.admit(1, 0.0)
        admission.end(1, 20.0, is_drawn=True)
    admission.admit(10, 0.0)

    def retry_after(now: float) -> float:
        with pytest.raises(OverloadedError) as caught:
            admission.admit(1, now)
        return caught.value.retry_after_s

    assert [round(retry_after(0.0)) for _ in range(3)] == [2, 4, 6]
    assert round(retry_after(5.0)) == 3, "of the six seconds, five have passed"
    assert [retry_after(5.0) for _ in range(50)][-1] == 60.0
    assert round(retry_after(100.0)) == 2


def test_a_failure_says_nothing_about_the_time_of_a_picture() -> None:
    admission, other = Admission(1), Admission(1)
    admission.admit(1, 0.0)
    admission.end(1, 500.0, is_drawn=False)
    for one in (admission, other):
        one.admit(1, 0.0)
    with pytest.raises(OverloadedError) as caught:
        admission.admit(1, 0.0)
    with pytest.raises(OverloadedError) as expected:
        other.admit(1, 0.0)
    assert caught.value.retry_after_s == expected.value.retry_after_s


def test_until_a_picture_is_drawn_those_in_flight_tell_how_long_it_takes_at_least() -> None:
    admission = Admission(10)
    admission.admit(10, 100.0)

    def retry_after(now: float) -> float:
        with pytest.raises(OverloadedError) as caught:
            admission.admit(5, now)
        return caught.value.retry_after_s

    assert retry_after(100.0) == 1.0
    assert retry_after(140.0) == 20.0


def test_clients_that_were_told_to_come_back_late_delay_no_others_once_pictures_are_fast() -> None:
    admission = Admission(10)
    admission.admit(10, 0.0)
    for _ in range(10):
        with pytest.raises(OverloadedError):
            admission.admit(1, 50.0)
    admission.end(1, 5.0, is_drawn=True)
    admission.admit(1, 50.0)
    with pytest.raises(OverloadedError) as caught:
        admission.admit(1, 52.0)
    assert caught.value.retry_after_s == pytest.approx(3.5), "ten were expected, of whom four are due"
