"""Answers of real servers, whole and with odd optional fields: the right answer, or a typed failure."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
import trio
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from actors.prompting import ask_model
from actors.verifying.questions import parse_verdict, score_of, verify_request
from gems_actors.backends import ImagePart
from gems_actors.backends.chat_answers import UnreadableAnswerError, read_answer
from gems_actors.backends.model_server import ModelServer
from gems_actors.backends.openai_chat import Endpoint, OpenAIChatModel
from gems_actors.config import ChatConfig
from gems_actors.errors import RequestError
from tests.gems_actors.backends.families import ANSWER, FAMILIES, LOGPROBS, THOUGHT
from tests.gems_actors.backends.servers import QUICK_RETRY

BODIES = {name: json.dumps(reply).encode() for name, reply in FAMILIES.items()}


def with_message(**fields: object) -> bytes:
    """Return an answer of OpenAI's with other fields in its message."""
    reply = copy.deepcopy(FAMILIES["OpenAI"])
    reply["choices"][0]["message"] |= fields
    return json.dumps(reply).encode()


def with_choice(**fields: object) -> bytes:
    """Return an answer of OpenAI's with other fields in its choice."""
    reply = copy.deepcopy(FAMILIES["OpenAI"])
    reply["choices"][0] |= fields
    return json.dumps(reply).encode()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_answer_of_each_family_is_read_with_its_thinking_and_usage(family: str) -> None:
    answer = read_answer(BODIES[family])
    thinks = family in ("LiteLLM before Anthropic", "Mistral", "DeepSeek", "OpenRouter")
    assert (answer.text, answer.reasoning) == (ANSWER, THOUGHT if thinks else "")
    assert (answer.usage["prompt_tokens"], answer.usage["completion_tokens"]) == (812, 9)
    assert answer.usage["cached_tokens"] == (512 if family == "DeepSeek" else 0)
    assert not answer.is_truncated
    assert not answer.refusal


@pytest.mark.parametrize(
    "content",
    [
        ANSWER,
        [{"type": "text", "text": ANSWER}],
        [{"type": "text", "text": ANSWER[:7]}, {"type": "text", "text": ANSWER[7:]}],
        [ANSWER[:7], ANSWER[7:]],
        {"type": "text", "text": ANSWER},
        [{"type": "thinking", "text": None, "thinking": "hm"}, {"type": "text", "text": ANSWER}],
        [{"type": "thinking", "thinking": None}, {"type": "output_text", "text": ANSWER, "annotations": []}],
        [{"type": "reasoning", "text": "No."}, {"type": "text", "text": ANSWER, "cache_control": None}],
        [{"type": "redacted_thinking", "data": "x"}, {"text": ANSWER}],
    ],
)
def test_content_is_a_text_or_the_texts_of_its_parts(content: object) -> None:
    assert read_answer(with_message(content=content)).text == ANSWER


@pytest.mark.parametrize("content", [7, True, [7], [None], {"yes": 1}, {"type": "text", "text": None}, [["yes"]]])
def test_content_of_another_form_is_no_answer(content: object) -> None:
    with pytest.raises(UnreadableAnswerError, match="an answer in words"):
        read_answer(with_message(content=content))


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 10.0, "completion_tokens": 5.5}, {"prompt_tokens": 10, "completion_tokens": 6}),
        ({"prompt_tokens": "10", "completion_tokens": None}, {"prompt_tokens": 10}),
        ({"prompt_tokens": -1, "completion_tokens": True}, {}),
        ({"prompt_tokens": 10**30, "completion_tokens": [5]}, {}),
        ({"prompt_tokens": "ten", "prompt_tokens_details": "none"}, {}),
        ({"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": None}}, {"prompt_tokens": 10}),
        ({"prompt_tokens": 10, "prompt_tokens_details": []}, {"prompt_tokens": 10}),
        ({"input_tokens": 10, "output_tokens": 5}, {"prompt_tokens": 10, "completion_tokens": 5}),
        ({"prompt_tokens": 10, "cached_tokens": 4}, {"prompt_tokens": 10, "cached_tokens": 4}),
        (None, {}), ([], {}), ("many", {}), (7, {}), ({}, {}),
    ],
)  # fmt: skip
def test_odd_usage_counts_as_far_as_it_can_be_read(usage: object, counts: dict[str, int]) -> None:
    answer = read_answer(json.dumps({**FAMILIES["OpenAI"], "usage": usage}).encode())
    assert (answer.text, dict(answer.usage)) == (ANSWER, counts)


@pytest.mark.parametrize(
    "fields",
    [
        {"refusal": ""}, {"refusal": False}, {"refusal": []}, {"refusal": {}},
        {"reasoning_content": 7}, {"reasoning_content": {}}, {"reasoning": {"effort": "low"}}, {"reasoning": []},
        {"tool_calls": []}, {"tool_calls": {}}, {"tool_calls": "none"}, {"function_call": []}, {"tool_calls": [None]},
        {"parts": None}, {"annotations": 7}, {"audio": []}, {"role": None}, {"role": 7}, {"name": {}},
    ],
)  # fmt: skip
def test_odd_optional_fields_of_a_message_leave_its_answer(fields: dict[str, object]) -> None:
    answer = read_answer(with_message(**fields))
    assert (answer.text, answer.refusal, answer.reasoning) == (ANSWER, "", "")


def logprobs(**fields: object) -> dict[str, Any]:
    """Return the probabilities with other fields for the first token."""
    return {"content": [{**LOGPROBS["content"][0], **fields}]}


TOP: list[object] = LOGPROBS["content"][0]["top_logprobs"]


ODD_LOGPROBS: list[object] = [
    None, [], {}, "none", 7, [[]], {"content": None}, {"content": []}, {"content": {}}, {"content": "yes"},
    {"content": [None]}, {"content": ["yes"]}, {"content": [[]]}, {"tokens": ["yes"], "token_logprobs": [-0.05]},
    {"content": [{"token": "yes", "logprob": -0.05}]}, logprobs(top_logprobs=None), logprobs(top_logprobs=[]),
    logprobs(top_logprobs={"yes": -0.05}), logprobs(top_logprobs="yes"), logprobs(top_logprobs=[None, []]),
    logprobs(top_logprobs=[{"token": "no", "logprob": 0.95}, {"token": "yes", "logprob": 0.05}]),
    logprobs(logprob=0.0, top_logprobs=[{"token": word, "logprob": 0.0} for word in ("yes", "no", "unsure")]),
    logprobs(logprob=None, top_logprobs=[{"token": "no", "logprob": None}]),
    logprobs(logprob="-0.1", top_logprobs=[{"token": "no", "logprob": "-0.1"}, {"token": 7, "logprob": -0.1}]),
    logprobs(logprob=-math.inf, top_logprobs=[{"token": "no", "logprob": -math.inf}]),
    logprobs(logprob=math.nan, top_logprobs=[{"token": "no", "logprob": math.nan}]),
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD_LOGPROBS)
def test_odd_logprobs_count_as_not_given_and_leave_the_words(odd: object) -> None:
    answer = read_answer(with_choice(logprobs=odd))
    assert (answer.text, answer.first_tokens) == (ANSWER, None)


@pytest.mark.parametrize(
    "given",
    [
        LOGPROBS,
        logprobs(bytes="yes"),
        logprobs(logprob=None),
        logprobs(top_logprobs=[*TOP, None, {}, {"token": "x"}]),
        logprobs(top_logprobs=[*TOP, {"token": "x", "logprob": -math.inf}]),
    ],
)
def test_probabilities_are_read_around_what_is_odd(given: object) -> None:
    tokens = read_answer(with_choice(logprobs=given)).first_tokens
    assert tokens is not None
    assert tokens["yes"] == pytest.approx(math.exp(-0.05))
    assert tokens["no"] == pytest.approx(math.exp(-3.2))


def test_probabilities_of_the_first_token_of_thinking_are_not_the_answers() -> None:
    reply = copy.deepcopy(FAMILIES["DeepSeek"])
    reply["choices"][0]["logprobs"] = LOGPROBS
    assert read_answer(json.dumps(reply).encode()).first_tokens is None


@pytest.mark.parametrize("reason", ["length", "max_tokens", "MAX_TOKENS", "model_length"])
def test_an_answer_that_ended_at_its_token_limit_is_truncated(reason: str) -> None:
    assert read_answer(with_choice(finish_reason=reason)).is_truncated


@pytest.mark.parametrize("reason", ["content_filter", "SAFETY", "refusal", "sensitive", "PROHIBITED_CONTENT"])
def test_a_filter_is_a_refusal(reason: str) -> None:
    assert read_answer(with_choice(finish_reason=reason)).refusal == reason


@pytest.mark.parametrize("reason", ["stop", "eos", "STOP", "end_turn", "", None, 7, {}, [], "eos_token", "unknown"])
def test_any_other_end_is_an_answer(reason: object) -> None:
    answer = read_answer(with_choice(finish_reason=reason))
    assert (answer.text, answer.is_truncated, answer.refusal) == (ANSWER, False, "")


@pytest.mark.parametrize("reason", ["error", "abort", "insufficient_system_resource", "network_error"])
def test_an_answer_that_the_server_broke_off_is_none(reason: str) -> None:
    with pytest.raises(UnreadableAnswerError, match="a whole answer"):
        read_answer(with_choice(finish_reason=reason))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"{}", b'{"choices": null}', b'{"choices": {}}', b'{"choices": []}', b"yes", b"\xff\xfe",
        b'{"choices": [null]}', b'{"choices": [{}]}', b'{"choices": [{"message": null}]}',
        b'{"choices": [{"text": "yes"}]}', b'{"output_text": "yes"}', b'{"message": {"content": "yes"}}',
        b"<html>sign in</html>", b"[" * 100_000,
        b"data: [" + b"[" * 100_000, b"data: {", b'{"choices": [{"message": "yes"}]}', BODIES["OpenAI"][:-30],
    ],
)  # fmt: skip
def test_a_body_without_the_needed_fields_is_no_answer(body: bytes) -> None:
    with pytest.raises(UnreadableAnswerError):
        read_answer(body)


def events(*deltas: object, end: str | None = "stop") -> bytes:
    """Return a stream of these deltas."""
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas
    ]
    chunks += [
        {"choices": [{"index": 0, "delta": {}, "finish_reason": end}]},
        {"choices": [], "usage": {"prompt_tokens": 9}},
    ]
    lines = [f"data: {json.dumps(chunk, ensure_ascii=False)}" for chunk in chunks]
    return "\r\n\r\n".join([": keep-alive", "event: message", *lines, "data: [DONE]", ""]).encode()


def test_a_stream_that_was_not_asked_for_is_put_together() -> None:
    deltas = (
        {"role": "assistant", "content": ""},
        {"reasoning_content": "hm"},
        {"content": "yes,\u2028"},
        {"content": " it is"},
    )
    answer = read_answer(events(*deltas))
    assert (answer.text, answer.reasoning, answer.finish_reason) == ("yes,\u2028 it is", "hm", "stop")
    assert answer.usage == {"prompt_tokens": 9}
    assert read_answer(events({"content": "no"}, end="length")).is_truncated
    with pytest.raises(UnreadableAnswerError, match="a stream without its end"):
        read_answer(events({"content": "no"}, end=None))
    with pytest.raises(UnreadableAnswerError) as caught:
        read_answer(b'data: {"error": {"code": 429, "message": "slow down"}}\n\n')
    assert json.loads(caught.value.body)["error"]["code"] == 429


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("around", [(b"\xef\xbb\xbf", b""), (b"\n\n \r\n", b"\n"), (b"\xef\xbb\xbf\n", b"\r\n")])
def test_a_byte_order_mark_and_blank_lines_around_the_body_do_not_matter(
    family: str, around: tuple[bytes, bytes]
) -> None:
    assert read_answer(around[0] + BODIES[family] + around[1]).text == ANSWER


# ------------------------------------------------------------------------------------------------ mutated real answers

ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 10**20)
    | st.floats()
    | st.sampled_from(["", "no", "none", "error", "length"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["text", "content", "token"]), inner, max_size=2)
    ),
    max_leaves=4,
)


def places_in(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value in a reply."""
    if path:
        yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from places_in(value, (*path, key))


def put(tree: Any, path: tuple[Any, ...], value: Any) -> None:
    """Replace the value at a path."""
    for key in path[:-1]:
        tree = tree[key]
    tree[path[-1]] = value


class Canned(ModelServer):
    """A server that answers with this reply, with `LOGPROBS` and one token where they are asked for."""

    def __init__(self, reply: dict[str, Any], mutation: tuple[tuple[Any, ...], Any] | None) -> None:
        super().__init__("canned", ChatConfig(backend="openai", url="http://x"), httpx.AsyncClient(verify=False), None)
        self.reply, self.mutation, self.asks = reply, mutation, 0

    async def post(self, path: str, fields: Any, *, max_bytes: int) -> bytes:
        self.asks += 1
        reply = copy.deepcopy(self.reply)
        choice = reply["choices"][0]
        if "logprobs" in fields:
            choice |= {"logprobs": copy.deepcopy(LOGPROBS), "finish_reason": "length"}
            choice["message"]["content"] = "yes"
        if self.mutation is not None:
            try:
                put(reply, *self.mutation)
            except (KeyError, IndexError, TypeError):  # the place is not in the answer of one token
                choice["odd"] = self.mutation[1]
        return json.dumps(reply).encode()


async def verdict_of(server: Canned) -> str:
    """Return the verdict that the verifier draws from the server's answers, in scored mode."""
    config = ChatConfig(backend="openai", url="http://x")
    model = OpenAIChatModel([Endpoint(server, config, config)], QUICK_RETRY)
    request = verify_request(ImagePart(b"x", "image/png"), "Is there a tree?", is_scored=True)
    with trio.fail_after(600.0):
        answer = await ask_model(model, request, parse_verdict)
    if answer.probabilities:
        return "met" if score_of(answer.probabilities) > 0.9 else "wrong score"
    return answer.value[0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.virtual_time
async def test_each_family_gives_the_right_verdict_with_as_few_asks_as_possible(family: str) -> None:
    server = Canned(FAMILIES[family], None)
    assert await verdict_of(server) == "met"
    assert server.asks == (2 if read_answer(BODIES[family]).reasoning and family != "Mistral" else 1)


@pytest.mark.virtual_time
@settings(max_examples=400, deadline=None)
@given(data=st.data(), family=st.sampled_from(sorted(FAMILIES)))
@pytest.mark.slow
async def test_a_mutated_answer_gives_the_right_verdict_or_a_typed_failure_and_few_asks(
    data: st.DataObject, family: str
) -> None:
    reply = copy.deepcopy(FAMILIES[family])
    if data.draw(st.booleans()):
        reply["choices"][0]["logprobs"] = copy.deepcopy(LOGPROBS)
    place = data.draw(st.sampled_from(sorted(places_in(reply), key=repr)))
    odd = data.draw(ODD)
    assume(place[:1] != ("choices",) or "no" not in repr(odd))  # another answer would be another answer
    server = Canned(reply, (place, odd))
    verdict = "failed"
    with suppress(RequestError):
        verdict = await verdict_of(server)
    is_needed = place[:1] == ("choices",) and (len(place) < 4 or place[2] in ("message", "finish_reason"))
    assert verdict in (("met", "failed") if is_needed else ("met",))
    assert server.asks <= (4 if is_needed else 2)
