"""Answers are parsed strictly, and a model may repair an unreadable one exactly once."""

from __future__ import annotations

import json
from dataclasses import replace as replace_request
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from actors.prompting import MAX_REASONING_CHARS, ask_model, list_lines, parse_json, parse_prompt, render, say
from gems_actors.backends import ChatReply, ChatRequest, TextPart
from gems_actors.errors import ModelOutputError
from protocol.limits import MAX_PROMPT_CHARS
from protocol.messages import Spent
from tests.actors.fakes import FakeChat, text_of

REQUEST = ChatRequest("decompose", {"prompt": "a cat"}, (say("user", "a cat"),))


def parse_number(text: str) -> int:
    return parse_json(text, int, "a number")


@pytest.mark.parametrize("text", ["7", " 7\n", "```\n7\n```", "```json\n7\n```", "  ```JSON\n7```\n"])
def test_json_is_read_bare_or_in_one_fence(text: str) -> None:
    assert parse_number(text) == 7


WORDS = {"a": 'is { it }, not "this"?', "b": ["x"]}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(WORDS),
        f"Here you are: {json.dumps(WORDS)} I hope it helps",
        f'Sure! The 5" picture:\n```json\n{json.dumps(WORDS, indent=2)}\n```\nAnything else?',
        f"```\n{json.dumps(WORDS)}\n```\nAgain: {json.dumps(WORDS)}",
        f"[1] {json.dumps(WORDS)} [2, 3]",
        json.dumps(WORDS).replace("]", ", ]").replace('["x", ]}', '["x",\n],\n}'),
        f"Yes: {json.dumps(WORDS)[:-1]},}}",
    ],
)
def test_an_object_among_words_in_fences_or_with_trailing_commas_is_read(text: str) -> None:
    assert parse_json(text, dict[str, Any], "an object") == WORDS


def test_line_breaks_within_a_string_are_read() -> None:
    assert parse_json('{"a": "two\nlines, ]"}', dict[str, str], "an object") == {"a": "two\nlines, ]"}


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1} {"a": 2}',
        'Instead of {"a": 1} I say {a: 2}',
        '{"a": 1} and {"a": ',
        '{"a": "x"}',
        '{"a": NaN}',
        "{'a': 1}",
        '{"a": 1',
        '"{\\"a\\": 1}"',
        "[" * 100_000,
        "{" * 100_000,
        '{"a": ' * 100_000,
    ],
)
def test_what_has_several_meanings_or_none_is_an_error(text: str) -> None:
    with pytest.raises(ModelOutputError, match="expected numbers"):
        parse_json(text, dict[str, int], "numbers")


@pytest.mark.parametrize(
    "text",
    ["", "```", "``````", "Here you are: 7", "```json\n7\n``` I hope it helps", "```7```", "```python\n7\n```", "7 8",
     "NaN", '"7"', "```\n7\n```\n```\n8\n```", "[" * 100_000, "\ud800"],
)  # fmt: skip
def test_anything_around_or_instead_of_json_is_an_error(text: str) -> None:
    with pytest.raises(ModelOutputError, match="expected a number"):
        parse_number(text)


def test_an_error_quotes_the_beginning_of_a_long_answer() -> None:
    with pytest.raises(ModelOutputError, match=r"got 'x+' and more") as caught:
        parse_number("x" * 10_000)
    assert len(str(caught.value)) < 400


async def test_a_readable_answer_needs_one_call() -> None:
    chat = FakeChat(ChatReply("7", reasoning="two and five"))
    answer = await ask_model(chat, REQUEST, parse_number)
    assert (answer.value, answer.reasoning, answer.spent.calls) == (7, "two and five", 1)
    assert chat.requests == [REQUEST]


async def test_an_unreadable_answer_is_shown_to_the_model_with_what_is_wrong() -> None:
    chat = FakeChat("seven", "7")
    answer = await ask_model(chat, REQUEST, parse_number)
    assert (answer.value, answer.reasoning, answer.spent.calls) == (7, "", 2)
    repair = chat.requests[1]
    assert (repair.task, repair.fields, repair.messages[:1]) == (REQUEST.task, REQUEST.fields, REQUEST.messages)
    assert repair.messages[1] == say("assistant", "seven")
    assert repair.messages[2].speaker == "user"
    assert isinstance(part := repair.messages[2].parts[0], TextPart)
    assert "expected a number" in part.text
    assert "got 'seven'" in part.text


@pytest.mark.virtual_time
async def test_an_answer_costs_the_time_and_the_tokens_of_all_its_calls() -> None:
    class SlowChat(FakeChat):
        async def chat(self, request: ChatRequest) -> ChatReply:
            await trio.sleep(2.0)
            return await super().chat(request)

    first = ChatReply("seven", usage={"prompt_tokens": 100, "completion_tokens": 5, "cached_tokens": 0})
    second = ChatReply("7", usage={"prompt_tokens": 120, "completion_tokens": 1, "cached_tokens": 64})
    spent = (await ask_model(SlowChat(first, second), REQUEST, parse_number)).spent
    assert spent.seconds == pytest.approx(4.0)
    assert spent == replace(
        Spent(calls=2, prompt_tokens=220, cached_tokens=64, completion_tokens=6), seconds=spent.seconds
    )


async def test_tokens_that_a_server_does_not_count_are_0() -> None:
    spent = (await ask_model(FakeChat("7"), REQUEST, parse_number)).spent
    assert replace(spent, seconds=0.0) == Spent(calls=1)


async def test_a_second_unreadable_answer_is_the_last_and_says_what_helps() -> None:
    chat = FakeChat("seven", "eight", "9")
    with pytest.raises(ModelOutputError, match=r"got 'eight' \(asked twice; .*reasoning parser"):
        await ask_model(chat, REQUEST, parse_number)
    assert [request.vary for request in chat.requests] == [False, True]


async def test_an_answer_that_the_model_cut_off_is_asked_for_once_more() -> None:
    def answer(request: ChatRequest) -> str:
        if not request.vary:
            raise ModelOutputError("chat server: expected a complete answer, got one truncated at the token limit")
        return "7"

    chat = FakeChat(rule=answer)
    assert (await ask_model(chat, REQUEST, parse_number)).value == 7
    assert "truncated at the token limit" in text_of(chat.requests[1])
    chat = FakeChat(rule=lambda request: answer(replace_request(request, vary=False)))
    with pytest.raises(ModelOutputError, match=r"truncated at the token limit \(asked twice"):
        await ask_model(chat, REQUEST, parse_number)
    assert len(chat.requests) == 2


async def test_an_answer_without_words_is_repaired_without_an_empty_turn() -> None:
    chat = FakeChat(" ", "7")
    await ask_model(chat, REQUEST, parse_number)
    assert chat.requests[1].messages[1] == say("assistant", "(no words)")


async def test_a_lone_surrogate_makes_an_answer_unreadable() -> None:
    chat = FakeChat("x\ud800", "whole")
    assert (await ask_model(chat, REQUEST, str)).value == "whole"
    assert chat.requests[1].messages[1] == say("assistant", "x?")


async def test_the_end_of_long_reasoning_is_kept_without_lone_surrogates() -> None:
    chat = FakeChat(ChatReply("7", reasoning="x" * MAX_REASONING_CHARS + "so \udc00 seven"))
    reasoning = (await ask_model(chat, REQUEST, parse_number)).reasoning
    assert len(reasoning) == MAX_REASONING_CHARS
    assert reasoning.endswith("xso ? seven")


def test_template_syntax_within_a_value_has_no_meaning() -> None:
    assert render('{"a": $b}', b="$b ${c} {d}") == '{"a": $b ${c} {d}}'


def test_an_empty_list_is_shown_as_none() -> None:
    assert list_lines(("a", "b")) == "- a\n- b"
    assert list_lines(()) == "(none)"


def test_a_prompt_is_bounded_and_never_blank() -> None:
    assert parse_prompt(" a cat\n") == "a cat"
    assert len(parse_prompt("x" * MAX_PROMPT_CHARS)) == MAX_PROMPT_CHARS
    with pytest.raises(ModelOutputError, match="at most 32000 characters, got 32001"):
        parse_prompt("x" * (MAX_PROMPT_CHARS + 1))
    with pytest.raises(ModelOutputError, match="at least one character"):
        parse_prompt(" \n")
