"""A text is found exactly up to case and line breaks, and only questions that ask for just that are so answered."""

from __future__ import annotations

import pytest
from msgspec import structs

from actors.verifying.text_matching import shows_text, text_asked_for
from protocol.messages import Claim
from tests.actors.fakes import requirement


@pytest.mark.parametrize(
    ("wanted", "read"),
    [
        ("OPEN", ["open"]),
        ("Open late", ["OPEN", "LATE"]),
        ("OPEN", ["we are Open!"]),
        ("it's “new”", ['it’s "NEW"']),
        ("BOOKSTORE", ["BOOK", "STORE"]),
        ("每日新鲜烘焙", ["每日新鲜", "烘焙"]),
        ("咖啡", ["好咖啡店"]),
        ("50 %", ["now 50 % off"]),
        ("ＯＰＥＮ", ["OPEN"]),
    ],
)
def test_a_text_is_found_whatever_its_case_and_line_breaks(wanted: str, read: list[str]) -> None:
    assert shows_text(wanted, read)


@pytest.mark.parametrize(
    ("wanted", "read"),
    [
        ("OPEN", ["OPNE"]),
        ("OPEN", ["OPPEN"]),
        ("OPEN", ["OPENING"]),
        ("Open late", ["late open"]),
        ("每日新鲜烘焙", ["每日新鲜供焙"]),
        ("7 days", ["7days a week"]),
        ("OPEN", []),
        ("", ["OPEN"]),
    ],
)
def test_another_text_is_not_taken_for_it(wanted: str, read: list[str]) -> None:
    assert not shows_text(wanted, read)


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ('Does the sign show the text "OPEN late"?', "OPEN late"),
        ("Does the banner read “每日新鲜烘焙”?", "每日新鲜烘焙"),
        ("Is the word «Bonjour» on the poster?", "Bonjour"),
        ('Is the text "OPEN" written in capital letters?', None),
        ('Is the word "OPEN" above the word "LATE"?', None),
        ('Is the image free of the text "OPEN"?', None),
        ("Is the text readable?", None),
    ],
)
def test_only_a_question_for_one_text_and_nothing_else_is_answered_by_reading(question: str, text: str | None) -> None:
    assert text_asked_for(structs.replace(requirement("a"), question=question, kind="text")) == text
    assert text_asked_for(structs.replace(requirement("a"), question=question, kind="attribute")) is None


def test_a_claim_says_the_text_better_than_the_question() -> None:
    asked = structs.replace(requirement("a"), question="Is it?", kind="text", claim=Claim(type="text", value="OPEN"))
    assert text_asked_for(asked) == "OPEN"
    assert text_asked_for(structs.replace(asked, claim=Claim(type="text", value="OPEN", negated=True))) is None
    assert text_asked_for(structs.replace(asked, claim=Claim(type="exists", subject="text"))) is None
