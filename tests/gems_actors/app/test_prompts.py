"""Prompts from arguments and standard input."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gems_actors.app.prompts import PromptError, check_prompt, read_prompt, slug_of


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" \n", "expected a prompt of 1 to 32,000 characters, got an empty one"),
        ("x" * 32_001, "expected a prompt of 1 to 32,000 characters, got 32,001"),
        ("dog \udcff", "expected UTF-8, got byte 0xff at character 5"),
        ("dog \ud83d", "expected UTF-8, got half a surrogate pair (U+D83D) at character 5"),
        ("a\0dog", "expected text, got a NUL character at character 2"),
        ("\0", "expected text, got a NUL character at character 1"),
    ],
)
def test_a_prompt_that_cannot_be_drawn_is_refused(text: str, message: str) -> None:
    with pytest.raises(PromptError) as raised:
        check_prompt(text)
    assert str(raised.value) == message


def test_standard_input_is_read_up_to_the_limit_of_a_prompt() -> None:
    assert read_prompt(io.BytesIO(b"  a red dog\nwith a hat\n")) == "a red dog\nwith a hat"
    with pytest.raises(PromptError, match="got byte 0xff at byte 2"):
        read_prompt(io.BytesIO(b"a\xff"))
    with pytest.raises(PromptError, match="expected UTF-8, got UTF-16; save it as UTF-8"):
        read_prompt(io.BytesIO("a red dog".encode("utf-16")))
    with pytest.raises(PromptError, match="got more"):
        read_prompt(io.BytesIO(b"x" * 200_000))


@pytest.mark.parametrize(
    ("prompt", "slug"),
    [("Two  metal toys!", "two-metal-toys"), ("../../etc", "etc"), ("???", "picture"), ("開店 sign", "開店-sign")],
)
def test_a_file_is_named_after_the_first_words_of_its_prompt(prompt: str, slug: str) -> None:
    assert slug_of(prompt) == slug


@given(st.text(min_size=1, max_size=300))
@pytest.mark.slow
def test_a_file_name_is_short_and_stays_in_its_folder(prompt: str) -> None:
    slug = slug_of(prompt)
    assert 1 <= len(slug.encode()) <= 60
    assert "/" not in slug
    assert not slug.startswith(".")
