"""Chat completions from servers that work, fail, hang, or send nonsense."""

from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from actors.compressor import RULES as COMPRESS_RULES
from actors.decomposer import RULES as DECOMPOSE_RULES
from actors.planner import ROUTE_RULES
from actors.refiner import rules_for
from actors.verifier import CANARY_QUESTION
from actors.verifying.questions import RULES as VERIFY_RULES
from gems_actors.backends.model_server import ModelServer
from gems_actors.backends.openai_chat import Endpoint, OpenAIChatModel
from gems_actors.config import ChatConfig, ChatServerConfig, MeshConfig, Prices, VerifyConfig
from gems_actors.errors import (
    BackendError,
    ConfigError,
    ModelOutputError,
    OverloadedError,
    RefusedError,
    RequestError,
)
from gems_actors.roles import BUILT_IN_ROLES
from gems_actors.supervision.child_main import load_actor
from gems_actors.testing import open_test_mesh
from protocol.messages import DrawPicture, ReadTrajectory
from tests.actors.fakes import png
from tests.gems_actors.backends.chats import QUESTION, chat, completion, open_model
from tests.gems_actors.backends.servers import Answer, ScriptedServer, open_server
from tests.gems_actors.test_files import KINDS, make


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with open_server(ScriptedServer(lambda fields: completion())) as running:
        yield running


async def test_text_and_pictures_reach_the_server_in_order(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_KEY", "secret")
    extra = {"temperature": 0.0, "chat_template_kwargs": {"enable_thinking": False}}
    assert (await chat(server, model="Qwen3-VL", api_key_env="THE_KEY", extra=extra)).text == "yes"
    ((path, headers, fields),) = server.asked
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret"
    url = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    assert fields == {
        "model": "Qwen3-VL",
        "messages": [
            {"role": "system", "content": "Look closely."},
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": url}},
                    {"type": "text", "text": "Is it red?"},
                ],
            },
        ],
        **extra,
    }


async def test_unset_fields_are_not_sent(server: ScriptedServer) -> None:
    await chat(server)
    ((_, headers, fields),) = server.asked
    assert list(fields) == ["messages"]
    assert "Authorization" not in headers


@pytest.mark.parametrize(
    ("answer", "text", "reasoning"),
    [
        (completion("yes", reasoning_content="It is red."), "yes", "It is red."),
        (completion("yes", reasoning="It is red."), "yes", "It is red."),
        (completion("<think>\nIt is red.\n</think>\n\nyes"), "\n\nyes", "It is red."),
        (completion("It is red.</think>yes"), "yes", "It is red."),
        (completion("yes"), "yes", ""),
        (completion([{"type": "text", "text": "y"}, {"type": "text", "text": "es"}]), "yes", ""),
        (completion("yes", reasoning_content=None, tool_calls=[], annotations={}), "yes", ""),
    ],
)
async def test_thinking_is_kept_apart_from_the_answer(
    server: ScriptedServer, answer: Answer, text: str, reasoning: str
) -> None:
    server.first.append(answer)
    reply = await chat(server)
    assert (reply.text, reply.reasoning) == (text, reasoning)


async def test_usage_is_what_the_server_reports(server: ScriptedServer) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 60}}
    server.first += [completion(usage=usage), completion(usage={"prompt_tokens": 3}), completion()]
    assert (await chat(server)).usage == {"prompt_tokens": 100, "completion_tokens": 5, "cached_tokens": 60}
    assert (await chat(server)).usage == {"prompt_tokens": 3}
    assert (await chat(server)).usage == {}


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (Answer(b'{"error": {"message": "slow"}}', 429, {"Retry-After": "60"}), OverloadedError, "answered 429: slow"),
        (Answer(b"no room", 503, {"Retry-After": "60"}), OverloadedError, "answered 503: 'no room'"),
        (Answer(b'{"detail": "model x is not served"}', 400), RefusedError, "answered 400: model x is not served"),
        (Answer(b'{"detail": [{"loc": ["body", "guided"], "msg": "extra"}]}', 422), RefusedError, "body.guided: extra"),
        (Answer(b"Internal Server Error", 500), BackendError, "answered 500: 'Internal Server Error'"),
        (Answer(b"<html>sign in</html>"), BackendError, 'expected JSON with an answer in "choices", got 20 bytes'),
        (Answer(b'{"choices": []}'), BackendError, 'expected JSON with an answer in "choices"'),
        (Answer(b'{"choices": [{"message": 3}]}'), BackendError, 'expected JSON with an answer in "choices"'),
        (Answer(b'{"choices": [{"mess', cut_to=10), BackendError, "RemoteProtocolError"),
        (
            completion("", finish_reason="stop"),
            ModelOutputError,
            "expected an answer, got an empty one (finish_reason stop)",
        ),
        (completion(None), ModelOutputError, "got an empty one"),
        (completion("yes, the", finish_reason="length"), ModelOutputError, "got one truncated at the token limit"),
        (
            completion("", reasoning_content="hm" * 50, finish_reason="length"),
            ModelOutputError,
            "truncated at the token limit; start the server with the reasoning parser of its model",
        ),
        (completion("", reasoning_content="yes"), ModelOutputError, "(finish_reason stop), after thinking; start the"),
        (
            completion("<think> it may be"),
            ModelOutputError,
            "after the thinking, got its beginning '<think> it may be'",
        ),
        (completion("◁think▷ it may be"), ModelOutputError, "--reasoning-parser"),
        (
            completion(
                None, tool_calls=[{"function": {"name": "look", "arguments": "{}"}}], finish_reason="tool_calls"
            ),
            ModelOutputError,
            "expected an answer in words, got a call of look",
        ),
        (
            completion("Let me look.", tool_calls=[{"type": "function"}], finish_reason="tool_calls"),
            ModelOutputError,
            "got a call of a tool",
        ),
        (completion("yes", finish_reason="error"), BackendError, "expected a whole answer, not one with finish_reason"),
        (
            Answer(b'{"error": {"message": "no such key", "code": "invalid_api_key"}}'),
            RefusedError,
            "answered 200 with an error: no such key",
        ),
        (
            Answer(b'{"error": {"message": "no longer", "code": 400}}'),
            RefusedError,
            "answered 200 with an error: no longer",
        ),
        (Answer(b'{"error": {"message": "it broke"}}'), BackendError, 'expected JSON with an answer in "choices", got'),
        (
            Answer(b'data: {"error": {"message": "no", "code": "400"}}\n\n'),
            RefusedError,
            "answered 200 with an error: no",
        ),
        (completion(None, refusal="I cannot look at that."), RefusedError, "the model refused: I cannot look at that."),
        (completion("", finish_reason="content_filter"), RefusedError, "the model refused: content_filter"),
    ],
)
async def test_each_failure_has_its_error_and_is_never_an_answer(
    server: ScriptedServer, answer: Answer, kind: type[RequestError], words: str
) -> None:
    server.rule = lambda fields: answer
    with pytest.raises(kind) as caught:
        await chat(server)
    assert caught.value.code == kind.code
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"chat server at {server.url}: ")
    assert len(server.asked) <= 4


@pytest.mark.slow
@pytest.mark.parametrize("status", [408, 409, 425])
async def test_a_status_that_may_pass_counts_against_the_request(server: ScriptedServer, status: int) -> None:
    server.rule = lambda fields: Answer(b'{"error": {"message": "try again"}}', status)
    async with open_model(server) as model:
        for turn in (1, 2, 3):
            with pytest.raises(BackendError, match=f"answered {status}: try again"), trio.fail_after(20.0):
                await model.chat(QUESTION)
            assert len(server.asked) == 4 * turn, "however often the conductor tries again"
        assert model.note() == ""


@pytest.mark.slow
async def test_a_server_that_hangs_times_out(server: ScriptedServer) -> None:
    server.rule = lambda fields: Answer(b"{}", delay_s=0.5)
    with pytest.raises(BackendError, match=r"ReadTimeout|expected an answer within 0\.1 s, got none"):
        await chat(server, timeout_s=0.1)


async def test_a_missing_key_is_a_configuration_error(server: ScriptedServer) -> None:
    with pytest.raises(ConfigError, match=r"chat\.api_key_env: expected a key in the environment variable NO_SUCH_KEY"):
        await chat(server, api_key_env="NO_SUCH_KEY")


async def test_a_key_in_a_file_is_used_and_never_repeated(server: ScriptedServer, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("\ufeffsk-secret\r\n")
    server.rule = lambda fields: Answer(b'{"error": {"message": "Incorrect API key provided: sk-secret."}}', 401)
    with pytest.raises(RefusedError, match=r"Incorrect API key provided: \*\*\*\.") as caught:
        await chat(server, api_key_file=str(key))
    assert "sk-secret" not in str(caught.value)
    assert server.asked[0][1]["Authorization"] == "Bearer sk-secret"
    key.write_text("")
    with pytest.raises(ConfigError, match=r"chat\.api_key_file: expected a key in .*, got an empty file"):
        await chat(server, api_key_file=str(key))
    with pytest.raises(ConfigError, match=r"chat\.api_key_file: .*No such file"):
        await chat(server, api_key_file=str(tmp_path / "none"))


@pytest.mark.parametrize(("kind", "reason"), KINDS.items())
async def test_a_key_file_that_is_no_file_is_refused_at_once(
    server: ScriptedServer, tmp_path: Path, kind: str, reason: str
) -> None:
    with pytest.raises(ConfigError, match=rf"chat\.api_key_file: .*: expected a readable file, got: {reason}"):
        await chat(server, api_key_file=str(make(tmp_path, kind)))


async def test_temperature_thinking_and_token_limit_are_sent_if_set(server: ScriptedServer) -> None:
    await chat(server, temperature=0.6, thinking=False, max_tokens=300)
    ((_, _, fields),) = server.asked
    del fields["messages"]
    assert fields == {
        "temperature": 0.6,
        "max_tokens": 300,
        "chat_template_kwargs": {"enable_thinking": False, "thinking": False},
    }


async def test_the_task_s_temperature_overrides_the_settings(server: ScriptedServer) -> None:
    await chat(server, replace(QUESTION, temperature=1.0), temperature=0.6)
    ((_, _, fields),) = server.asked
    assert fields["temperature"] == 1.0


@pytest.mark.parametrize(
    ("configured", "prescribed", "sent"),
    [(0.0, None, 0.7), (0.9, None, 0.9), (None, 0.0, 0.7), (1.0, 0.2, 0.7), (None, None, None)],
)
async def test_a_request_for_another_answer_raises_a_temperature_near_0(
    server: ScriptedServer, configured: float | None, prescribed: float | None, sent: float | None
) -> None:
    await chat(server, replace(QUESTION, temperature=prescribed, vary=True), temperature=configured)
    assert server.asked[0][2].get("temperature") == sent


async def test_the_cost_follows_the_server_s_prices(server: ScriptedServer) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 600}}
    server.rule = lambda fields: completion(usage=usage)
    assert (await chat(server)).cost == 0.0
    assert (await chat(server, prices=Prices(prompt=2.0, completion=10.0))).cost == pytest.approx(0.0021)
    assert (await chat(server, prices=Prices(prompt=2.0, cached=0.5, completion=10.0))).cost == pytest.approx(0.0012)


# ------------------------------------------------------------------------------------------------ failures that pass


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        Answer(b"{}", 429),
        Answer(b"{}", 429, {"Retry-After": "0.2"}),
        Answer(b"{}", 503),
        Answer(b"{}", 408),
        Answer(b'{"error": {"message": "Rate limit exceeded", "code": 429}, "user_id": "u"}'),
        Answer(b'{"error": {"message": "Rate limit exceeded", "type": "rate_limit_error"}}'),
        Answer(b"{}", 500),
        Answer(b"{}", 502),
        Answer(b"{}", 504),
        Answer(b"<html>welcome</html>"),
        Answer(b'{"choices": [{"mess', cut_to=10),
        Answer(b'{"choices": [{"message": {"content": "ye'),
        Answer(b"x" * 10_000_000),
        Answer(completion("yes " * 2_500_000).body),
        Answer(b"{}", delay_s=0.7),
    ],
    ids=[
        "429",
        "429 for 0.2 s",
        "503",
        "408",
        "429 within 200",
        "rate limit within 200",
        "500",
        "502",
        "504",
        "HTML",
        "cut",
        "half",
        "10 MB",
        "10 MB yes",
        "hang",
    ],
)
async def test_a_passing_failure_is_retried(server: ScriptedServer, answer: Answer) -> None:
    server.first += [answer, answer]
    assert (await chat(server, timeout_s=0.5)).text == "yes"
    assert len(server.asked) == 3


@pytest.mark.slow
async def test_no_request_is_sent_before_retry_after(server: ScriptedServer) -> None:
    server.first.append(Answer(b"{}", 429, {"Retry-After": "0.4"}))
    began = time.monotonic()
    assert (await chat(server)).text == "yes"
    assert time.monotonic() - began >= 0.4


async def test_an_exhausted_rate_limit_is_waited_for(server: ScriptedServer) -> None:
    used_up = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "300ms"}
    server.first.append(replace(completion(), headers=used_up))

    async with open_model(server) as model:
        await model.chat(QUESTION)
        began = trio.current_time()
        await model.chat(QUESTION)
        assert trio.current_time() - began >= 0.25


@pytest.mark.slow
async def test_a_server_that_goes_away_is_waited_for_until_it_is_back() -> None:
    with ExitStack() as stack:
        first = stack.enter_context(ExitStack())
        server = first.enter_context(open_server(ScriptedServer(lambda fields: completion())))
        port = int(server.url.split(":")[2].split("/")[0])
        async with open_model(server) as model:
            assert (await model.chat(QUESTION)).text == "yes"
            dead = Answer(b"engine is dead", 500, {"Connection": "close"})
            server.rule = lambda fields: dead
            texts: list[str] = []

            async def ask() -> None:
                texts.append((await model.chat(QUESTION)).text)

            async with trio.open_nursery() as nursery:
                await trio.to_thread.run_sync(first.close)
                nursery.start_soon(ask)
                while not model.note():  # noqa: ASYNC110 -- a figure, not an event
                    await trio.sleep(0.01)
                assert "breaker" in model.note()
                assert "ConnectError" in model.note()
                assert model.figures()["servers_down"] == 1
                stack.enter_context(open_server(ScriptedServer(lambda fields: completion("yes, again")), port=port))
            assert model.note() == ""
            assert texts == ["yes, again"]


async def test_a_fallback_answers_while_the_first_server_is_down(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_KEY", "other")
    spare = ChatServerConfig(url=server.url, model="spare", api_key_env="OTHER_KEY")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        assert (await chat(server, url=gone, model="main", temperature=0.5, fallbacks=(spare,))).text == "yes"
    ((_, headers, fields),) = server.asked
    assert headers["Authorization"] == "Bearer other"
    assert (fields["model"], fields["temperature"]) == ("spare", 0.5)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                (
                    "choices",
                    "message",
                    "content",
                    "text",
                    "reasoning",
                    "refusal",
                    "finish_reason",
                    "usage",
                    "prompt_tokens",
                    "logprobs",
                    "top_logprobs",
                    "token",
                    "logprob",
                )
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.virtual_time
@given(
    body=st.binary(max_size=200) | JSON.map(msgspec.json.encode), choices=st.sampled_from([(), ("yes", "no", "unsure")])
)
@pytest.mark.slow
async def test_any_reply_is_an_answer_or_a_backend_error(body: bytes, choices: tuple[str, ...]) -> None:
    class Canned(ModelServer):
        """A server that gives this reply."""

        async def post(self, path: str, fields: object, *, max_bytes: int) -> bytes:
            return body

    settings = ChatConfig(backend="openai", url="http://x")

    endpoint = Endpoint(Canned("x", settings, httpx.AsyncClient(verify=False), None), settings, settings)
    try:
        reply = await OpenAIChatModel([endpoint]).chat(replace(QUESTION, choices=choices))
    except (BackendError, RefusedError, ModelOutputError):
        return
    except OverloadedError:
        raise AssertionError("nothing here says that it is busy") from None
    assert reply.text.strip()


@pytest.mark.slow
async def test_a_whole_loop_with_one_server_for_every_role(server: ScriptedServer, tmp_path: Path) -> None:
    pictures_seen: set[str] = set()

    def answer(fields: dict[str, Any]) -> Answer:
        rules, *rest = fields["messages"]
        if rules["content"] == VERIFY_RULES:  # the first picture is refused, a second one taken
            parts = rest[0]["content"]
            picture, question = parts
            if question["text"] == CANARY_QUESTION:
                return completion("unsure")
            pictures_seen.add(picture["image_url"]["url"])
            return completion("yes" if len(pictures_seen) > 1 else "no, there is none", usage={"prompt_tokens": 10})
        requirement = {"id": "r1", "question": "Are there cats?", "kind": "object", "depends_on": None}
        return completion(
            {
                ROUTE_RULES: '{"skill": null}',
                DECOMPOSE_RULES: json.dumps({"requirements": [requirement]}),
                COMPRESS_RULES: "Say cats first.",
                rules_for(): '```json\n{"diagnosis": "no cats", "prompt": "cats, two red cats"}\n```',
            }[rules["content"]],
            reasoning_content="I thought of cats.",
        )

    server.rule = answer
    server.first.append(Answer(b"{}", 503, {"Retry-After": "0.1"}))

    model = ChatConfig(backend="openai", url=server.url, model="tiny")
    config = MeshConfig(data_dir=str(tmp_path), chat=model, verify=VerifyConfig(mode="words"))
    request = DrawPicture(run="r", prompt="two red cats", seed=3)
    async with open_test_mesh(*(load_actor(role, config) for role in BUILT_IN_ROLES), config=config) as mesh:
        picture = await mesh.ask(request)
        assert picture.all_met
        assert [attempt.prompt for attempt in picture.attempts] == ["two red cats", "cats, two red cats"]
        state = await mesh.ask(ReadTrajectory(trajectory=request.trajectory))
    assert [item.text for item in state.experiences] == ["Say cats first."]
    assert state.refinements[0].reasoning == "I thought of cats."
    assert set(state.spent) == {"planner", "decomposer", "generator", "verifier", "compressor", "refiner"}
    assert (state.spent["verifier"].calls, state.spent["verifier"].prompt_tokens) == (2, 20)
