"""Choices answered by probabilities, and answers in JSON by a schema, where the server has them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from gems_actors.backends import ChatReply, ChatRequest
from gems_actors.errors import RefusedError
from tests.gems_actors.backends.chats import QUESTION, chat, completion, open_model
from tests.gems_actors.backends.servers import Answer, ScriptedServer, open_server


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with open_server(ScriptedServer(lambda fields: completion())) as running:
        yield running


CHOICE = replace(QUESTION, choices=("yes", "no", "unsure"))


def scored(**probabilities: float) -> Answer:
    """Return an answer of one token, with the probabilities of some."""
    tokens = [{"token": token, "logprob": math.log(chance)} for token, chance in probabilities.items()]
    first = {**tokens[0], "top_logprobs": tokens}
    choice = {
        "message": {"content": tokens[0]["token"]},
        "finish_reason": "length",
        "logprobs": {"content": [first]},
    }
    return Answer(json.dumps({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}).encode())


async def chat_twice(server: ScriptedServer, request: ChatRequest, **settings: Any) -> list[ChatReply]:
    async with open_model(server, **settings) as model:
        return [await model.chat(request) for _ in range(2)]


async def test_a_choice_is_answered_by_the_probabilities_of_one_token(server: ScriptedServer) -> None:
    server.rule = lambda fields: scored(Yes=0.5, **{" yes": 0.1, "No": 0.2, "uns": 0.1, "Maybe": 0.1})
    reply = await chat(server, CHOICE)
    assert reply.text == "yes"
    assert reply.probabilities == pytest.approx({"yes": 0.6 / 0.9, "no": 0.2 / 0.9, "unsure": 0.1 / 0.9})
    assert reply.usage == {"prompt_tokens": 9, "completion_tokens": 1}
    ((_, _, fields),) = server.asked
    assert (fields["max_tokens"], fields["logprobs"], fields["top_logprobs"]) == (1, True, 8)


@pytest.mark.slow
@pytest.mark.parametrize(
    "first",
    [
        completion("yes", finish_reason="length"),
        completion("", reasoning_content="We", finish_reason="length"),
        Answer(b'{"detail": [{"loc": ["body", "logprobs"], "msg": "Extra inputs are not permitted"}]}', 422),
        Answer(b'{"error": {"message": "max_tokens must be at least 16"}}', 400),
    ],
    ids=["ignored", "thinking", "refused", "too few"],
)
async def test_a_server_without_probabilities_answers_in_text_and_is_not_asked_for_them_again(
    server: ScriptedServer, first: Answer
) -> None:
    server.rule = lambda fields: first if "logprobs" in fields else completion("no, it is blue")
    assert [(reply.text, reply.probabilities) for reply in await chat_twice(server, CHOICE)] == [
        ("no, it is blue", {})
    ] * 2
    assert ["logprobs" in fields for _, _, fields in server.asked] == [True, False, False]
    assert "max_tokens" not in server.asked[1][2]


async def test_a_first_token_outside_the_choices_leads_to_a_text_answer(server: ScriptedServer) -> None:
    server.rule = lambda fields: scored(The=0.6, yes=0.4) if "logprobs" in fields else completion("no")
    replies = await chat_twice(server, CHOICE)
    assert [reply.text for reply in replies] == ["no", "no"]
    assert replies[0].calls == 2


async def test_a_refusal_of_the_question_itself_is_raised(server: ScriptedServer) -> None:
    server.rule = lambda fields: Answer(b'{"detail": "the image is too large"}', 400)
    with pytest.raises(RefusedError, match="the image is too large"):
        await chat(server, CHOICE)


async def test_a_thinking_model_is_not_asked_for_probabilities(server: ScriptedServer) -> None:
    await chat(server, CHOICE, thinking=True)
    assert ["logprobs" in fields for _, _, fields in server.asked] == [False]


SHAPED = replace(QUESTION, task="refine", schema={"type": "object"})


async def test_the_schema_is_sent_unless_it_is_switched_off(server: ScriptedServer) -> None:
    await chat(server, SHAPED)
    wanted = {"name": "refine", "strict": True, "schema": {"type": "object"}}
    assert server.asked[0][2]["response_format"] == {"type": "json_schema", "json_schema": wanted}
    await chat(server, SHAPED, structured=False)
    assert "response_format" not in server.asked[1][2]


async def test_a_server_that_refuses_schemas_gets_none_from_then_on(server: ScriptedServer) -> None:
    refusal = Answer(b'{"detail": [{"loc": ["body", "response_format"], "msg": "extra"}]}', 422)
    server.rule = lambda fields: refusal if "response_format" in fields else completion("{}")
    assert [reply.text for reply in await chat_twice(server, SHAPED)] == ["{}", "{}"]
    assert ["response_format" in fields for _, _, fields in server.asked] == [True, False, False]


OPTIONS = {"response_format": SHAPED, "logprobs": CHOICE}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("status", [401, 402, 403, 404, 405, 406, 410, 411, 413, 414, 415, 418, 423, 431, 451])
async def test_any_other_refusal_is_of_the_request_itself(server: ScriptedServer, option: str, status: int) -> None:
    server.rule = lambda fields: Answer(b'{"error": {"message": "no"}}', status if option in fields else 429)
    with pytest.raises(RefusedError, match=f"answered {status}: no"):
        await chat(server, OPTIONS[option])
    assert len(server.asked) == 1


async def test_a_model_without_probabilities_for_anyone_answers_in_words(server: ScriptedServer) -> None:
    refusal = Answer(b'{"error": {"message": "You are not allowed to request logprobs from this model"}}', 403)
    server.rule = lambda fields: refusal if "logprobs" in fields else completion("no")
    assert (await chat(server, CHOICE)).text == "no"


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("status", [400, 422])
async def test_the_first_refusal_is_kept_if_the_second_ask_stays_busy(
    server: ScriptedServer, option: str, status: int
) -> None:
    server.rule = lambda fields: Answer(b'{"detail": "no"}', status if option in fields else 429)
    with pytest.raises(RefusedError, match=f"answered {status}: no"):
        await chat(server, OPTIONS[option])
    assert len(server.asked) == 8


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("second", [Answer(b"{}", 500), Answer(b"<html>"), Answer(b"{", cut_to=0), Answer(b"{}", 408)])
async def test_the_first_refusal_is_kept_if_the_second_ask_fails(
    server: ScriptedServer, option: str, second: Answer
) -> None:
    server.rule = lambda fields: Answer(b'{"detail": "no"}', 400) if option in fields else second
    with pytest.raises(RefusedError, match="answered 400: no"):
        await chat(server, OPTIONS[option])
    assert len(server.asked) == 2


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
async def test_a_server_that_refuses_an_option_and_is_busy_for_a_moment_answers(
    server: ScriptedServer, option: str
) -> None:
    server.rule = lambda fields: Answer(b"{}", 400) if option in fields else completion("no")
    server.first += [Answer(b"{}", 400), Answer(b"{}", 429, {"Retry-After": "0.1"})]
    assert (await chat(server, OPTIONS[option])).text == "no"
    assert len(server.asked) == 4
