"""Prompts from arguments, standard input and files."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gems_actors.cli.prompts import (
    BadLine,
    LineFormat,
    PromptError,
    PromptLine,
    check_prompt,
    read_lines,
    read_prompt,
    seed_of_line,
    slug_of,
)


def read(data: bytes, format_: LineFormat) -> list[PromptLine | BadLine]:
    """Return all lines of a file with the seed 0."""
    return list(read_lines(io.BytesIO(data), format_, 0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" \n", "expected a prompt of 1 to 32,000 characters, came an empty one"),
        ("x" * 32_001, "expected a prompt of 1 to 32,000 characters, came 32,001"),
        ("dog \udcff", "expected UTF-8, came byte 0xff at character 5"),
    ],
)
def test_a_prompt_that_cannot_be_drawn_is_refused(text: str, message: str) -> None:
    with pytest.raises(PromptError) as raised:
        check_prompt(text)
    assert str(raised.value) == message


def test_standard_input_is_read_whole_and_no_further_than_a_prompt_can_reach() -> None:
    assert read_prompt(io.BytesIO(b"  a red dog\nwith a hat\n")) == "a red dog\nwith a hat"
    with pytest.raises(PromptError, match="came byte 0xff at byte 2"):
        read_prompt(io.BytesIO(b"a\xff"))
    with pytest.raises(PromptError, match="came more"):
        read_prompt(io.BytesIO(b"x" * 200_000))


def test_lines_of_text_keep_their_place_in_the_file() -> None:
    assert read("\ufeffa dog\r\n\n  \na cat".encode(), "txt") == [
        PromptLine(0, "a dog", seed_of_line(0, 0)),
        PromptLine(3, "a cat", seed_of_line(0, 3)),
    ]


def test_lines_of_json_carry_seed_and_metadata() -> None:
    assert read(b'{"prompt": "a dog", "seed": 7, "tag": "x"}\n', "jsonl") == [PromptLine(0, "a dog", 7, {"tag": "x"})]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\xff", "expected UTF-8, came byte 0xff at byte 1"),
        (b"nonsense", "expected JSON: "),
        (b'"a dog"', 'expected an object like {"prompt": "...", "seed": 7}: '),
        (b'{"prompt": 3}', 'expected an object like {"prompt": "...", "seed": 7}: '),
        (b'{"seed": 3}', 'expected an object like {"prompt": "...", "seed": 7}: '),
        (b'{"prompt": ""}', "expected a prompt of 1 to 32,000 characters, came an empty one"),
        (b'{"prompt": "x", "seed": -1}', "expected a seed of 0 to 4294967295, came -1"),
        (b'{"prompt": "x", "a": ' + b"[" * 100_000, "expected JSON: "),
    ],
)
def test_a_bad_line_fails_alone(line: bytes, reason: str) -> None:
    before, bad, after = read(b'{"prompt": "a"}\n' + line + b'\n{"prompt": "b"}\n', "jsonl")
    assert isinstance(bad, BadLine)
    assert (bad.index, bad.reason[: len(reason)]) == (1, reason)
    assert isinstance(before, PromptLine)
    assert isinstance(after, PromptLine)


def test_a_line_without_end_does_not_fill_memory_and_the_next_is_read() -> None:
    bad, good = read(b"x" * 3_000_000 + b"\na dog\n", "txt")
    assert isinstance(bad, BadLine)
    assert good == PromptLine(1, "a dog", seed_of_line(0, 1))


@given(st.binary(max_size=200), st.sampled_from(["txt", "jsonl"]))
def test_no_bytes_raise_anything(data: bytes, format_: LineFormat) -> None:
    read(data, format_)


def test_seeds_of_lines_differ_and_do_not_depend_on_other_lines() -> None:
    assert (
        len({seed_of_line(0, index) for index in range(1000)} | {seed_of_line(1, index) for index in range(1000)})
        == 2000
    )


@pytest.mark.parametrize(
    ("prompt", "slug"),
    [("Two  metal toys!", "two-metal-toys"), ("../../etc", "etc"), ("???", "picture"), ("開店 sign", "開店-sign")],
)
def test_a_file_is_named_after_the_first_words(prompt: str, slug: str) -> None:
    assert slug_of(prompt) == slug


@given(st.text(min_size=1, max_size=300))
def test_a_name_made_from_a_prompt_is_short_and_stays_in_its_folder(prompt: str) -> None:
    slug = slug_of(prompt)
    assert 1 <= len(slug.encode()) <= 60
    assert "/" not in slug
    assert not slug.startswith(".")
