"""A chat completions API on its good days and on its bad ones."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from actors import ROLES
from actors.compressor import RULES as COMPRESS_RULES
from actors.decomposer import RULES as DECOMPOSE_RULES
from actors.planner import ROUTE_RULES
from actors.refiner import RULES as REFINE_RULES
from actors.verifier import RULES as VERIFY_RULES
from gems_actors.backends import ChatMessage, ChatReply, ChatRequest, ImagePart, TextPart
from gems_actors.backends.openai_chat import open_openai_chat
from gems_actors.config import ChatConfig, MeshConfig
from gems_actors.errors import BackendError, ConfigError, OverloadedError, RefusedError, RequestError
from gems_actors.process import load_actor
from gems_actors.testing import open_test_mesh
from protocol.messages import DrawPicture, ReadTrajectory, Spent
from tests.actors.fakes import png
from tests.gems_actors.backends.servers import Answer, ScriptedServer, open_server

QUESTION = ChatRequest(
    "verify",
    {},
    (
        ChatMessage("system", (TextPart("Look closely."),)),
        ChatMessage("user", (ImagePart(png(), "image/png"), TextPart("Is it red?"))),
    ),
)


def said(
    content: object = "yes", *, finish_reason: str = "stop", usage: dict[str, Any] | None = None, **more: object
) -> Answer:
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **more}, "finish_reason": finish_reason}
    return Answer(json.dumps({"id": "x", "choices": [choice], "usage": usage}).encode())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with open_server(ScriptedServer(lambda fields: said())) as running:
        yield running


def chat(server: ScriptedServer, request: ChatRequest = QUESTION, **settings: Any) -> ChatReply:
    """Return the answer to one request."""

    async def main() -> ChatReply:
        async with open_openai_chat(ChatConfig(**{"backend": "openai", "url": server.url, **settings})) as model:
            return await model.chat(request)

    return trio.run(main)


def test_words_and_pictures_reach_the_server_in_their_order(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_KEY", "secret")
    extra = {"temperature": 0.0, "chat_template_kwargs": {"enable_thinking": False}}
    assert chat(server, model="Qwen3-VL", api_key_env="THE_KEY", extra=extra).text == "yes"
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


def test_nothing_is_sent_that_was_not_set(server: ScriptedServer) -> None:
    chat(server)
    ((_, headers, fields),) = server.asked
    assert list(fields) == ["messages"]
    assert "Authorization" not in headers


@pytest.mark.parametrize(
    ("answer", "text", "reasoning"),
    [
        (said("yes", reasoning_content="It is red."), "yes", "It is red."),
        (said("yes", reasoning="It is red."), "yes", "It is red."),
        (said("<think>\nIt is red.\n</think>\n\nyes"), "\n\nyes", "It is red."),
        (said("It is red.</think>yes"), "yes", "It is red."),
        (said("yes"), "yes", ""),
        (said([{"type": "text", "text": "y"}, {"type": "text", "text": "es"}]), "yes", ""),
        (said("yes", reasoning_content=None, tool_calls=[], annotations={}), "yes", ""),
    ],
)
def test_thinking_is_kept_apart_from_the_answer(
    server: ScriptedServer, answer: Answer, text: str, reasoning: str
) -> None:
    server.first.append(answer)
    reply = chat(server)
    assert (reply.text, reply.reasoning) == (text, reasoning)


def test_tokens_are_counted_as_far_as_the_server_counts_them(server: ScriptedServer) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 60}}
    server.first += [said(usage=usage), said(usage={"prompt_tokens": 3}), said()]
    assert chat(server).usage == {"prompt_tokens": 100, "completion_tokens": 5, "cached_tokens": 60}
    assert chat(server).usage == {"prompt_tokens": 3}
    assert chat(server).usage == {}


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (Answer(b'{"error": {"message": "slow"}}', 429, {"Retry-After": "3"}), OverloadedError, "answered 429: slow"),
        (Answer(b"no room", 503), OverloadedError, "answered 503: 'no room'"),
        (Answer(b'{"detail": "model x is not served"}', 400), RefusedError, "answered 400: model x is not served"),
        (Answer(b'{"detail": [{"loc": ["body", "guided"], "msg": "extra"}]}', 422), RefusedError, "body.guided: extra"),
        (Answer(b"Internal Server Error", 500), BackendError, "answered 500: 'Internal Server Error'"),
        (Answer(b"<html>sign in</html>"), BackendError, 'expected JSON with an answer in "choices", came 20 bytes'),
        (Answer(b'{"choices": []}'), BackendError, 'expected JSON with an answer in "choices"'),
        (Answer(b'{"choices": [{"message": 3}]}'), BackendError, 'expected JSON with an answer in "choices"'),
        (Answer(b'{"choices": [{"mess', cut_to=10), BackendError, "RemoteProtocolError"),
        (said("", finish_reason="stop"), BackendError, "expected an answer, came an empty one (finish_reason stop)"),
        (said(None), BackendError, "came an empty one"),
        (said("yes, the", finish_reason="length"), BackendError, "came one cut at the cap of tokens"),
        (said("", reasoning_content="hm" * 50, finish_reason="length"), BackendError, "cut at the cap of tokens"),
        (said("<think> it may be"), BackendError, "expected an answer behind the thinking"),
        (said(None, refusal="I cannot look at that."), RefusedError, "the model refused: I cannot look at that."),
        (said("", finish_reason="content_filter"), RefusedError, "the model refused: content_filter"),
    ],
)
def test_a_bad_day_is_a_failure_of_its_kind_and_never_an_answer(
    server: ScriptedServer, answer: Answer, kind: type[RequestError], words: str
) -> None:
    server.first.append(answer)
    with pytest.raises(kind) as caught:
        chat(server)
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"chat server at {server.url}: ")


def test_a_server_that_hangs_is_given_up(server: ScriptedServer) -> None:
    server.first.append(Answer(b"{}", delay_s=1.0))
    with pytest.raises(BackendError, match="ReadTimeout"):
        chat(server, timeout_s=0.2)


def test_a_key_that_is_not_there_is_a_wrong_setting(server: ScriptedServer) -> None:
    with pytest.raises(ConfigError, match=r"chat\.api_key_env: expected a key in the environment variable NO_SUCH_KEY"):
        chat(server, api_key_env="NO_SUCH_KEY")


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
                )
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(body=st.binary(max_size=200) | JSON.map(msgspec.json.encode))
def test_no_reply_that_a_server_can_send_is_more_than_an_answer_or_a_failure(body: bytes) -> None:
    class Canned:
        """A server that gives this reply."""

        async def post(self, path: str, fields: object) -> bytes:
            return body

        def __getattr__(self, name: str) -> object:
            return lambda *words: BackendError(f"{name}: {words}")

    from gems_actors.backends.openai_chat import OpenAIChatModel

    model = OpenAIChatModel(ChatConfig(backend="openai", url="http://x"), Canned())  # type: ignore[arg-type]
    try:
        reply = trio.run(model.chat, QUESTION)
    except BackendError:
        return
    assert reply.text.strip()


def test_the_whole_loop_asks_a_server_for_every_role(server: ScriptedServer, tmp_path: Path) -> None:
    pictures_seen: set[str] = set()

    def answer(fields: dict[str, Any]) -> Answer:
        rules, *rest = fields["messages"]
        if rules["content"] == VERIFY_RULES:  # the first picture is refused, a second one taken
            parts = rest[0]["content"]
            pictures_seen.add(next(part["image_url"]["url"] for part in parts if part["type"] == "image_url"))
            return said("yes" if len(pictures_seen) > 1 else "no, there is none", usage={"prompt_tokens": 10})
        requirement = {"id": "r1", "question": "Are there cats?", "kind": "object", "depends_on": None}
        return said(
            {
                ROUTE_RULES: '{"skill": null}',
                DECOMPOSE_RULES: json.dumps([requirement]),
                COMPRESS_RULES: "Say cats first.",
                REFINE_RULES: '```json\n{"diagnosis": "no cats", "prompt": "cats, two red cats"}\n```',
            }[rules["content"]],
            reasoning_content="I thought of cats.",
        )

    server.rule = answer
    server.first.append(Answer(b"{}", 503, {"Retry-After": "0.1"}))

    async def main() -> None:
        config = MeshConfig(data_dir=str(tmp_path), chat=ChatConfig(backend="openai", url=server.url, model="tiny"))
        request = DrawPicture(run="r", prompt="two red cats", seed=3)
        async with open_test_mesh(*map(load_actor, ROLES), config=config) as mesh:
            picture = await mesh.ask(request)
            assert picture.all_met
            assert [attempt.prompt for attempt in picture.attempts] == ["two red cats", "cats, two red cats"]
            state = await mesh.ask(ReadTrajectory(trajectory=request.trajectory))
        assert [item.text for item in state.experiences] == ["Say cats first."]
        assert state.refinements[0].reasoning == "I thought of cats."
        assert set(state.spent) == {"planner", "decomposer", "generator", "verifier", "compressor", "refiner"}
        verifier = state.spent["verifier"]
        assert (verifier.calls, verifier.prompt_tokens) == (2, 20)
        assert verifier != Spent()

    trio.run(main)
