"""Chat through LiteLLM's proxy, the gateway that many labs have in front of their servers; the upstream is scripted.

What the proxy makes of an answer or a refusal is its own: its code, body and headers reach the client, not the
upstream's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from gems_actors.backends import ChatReply
from gems_actors.backends.failover import RetryPolicy
from gems_actors.backends.openai_chat import open_openai_chat
from gems_actors.config import ChatConfig
from gems_actors.errors import BackendError, RefusedError
from tests.gems_actors.backends.chats import QUESTION, completion
from tests.gems_actors.backends.litellm_proxy import open_litellm
from tests.gems_actors.backends.servers import Answer, ScriptedServer, open_server

pytestmark = pytest.mark.slow

_RETRY = RetryPolicy(first_backoff_s=0.001, max_backoff_s=0.002)


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedServer]:
    with open_server(ScriptedServer(lambda fields: completion("yes, it is"))) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(upstream: ScriptedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a proxy that serves the model `judge` and needs the key `sk-judge`."""
    served = {"model": "openai/upstream", "api_base": upstream.url, "api_key": "none"}
    models = [{"model_name": "judge", "litellm_params": served}]
    with open_litellm(tmp_path_factory.mktemp("litellm"), models, key="sk-judge") as url:
        yield url


@pytest.fixture(autouse=True)
def without_earlier_requests(upstream: ScriptedServer) -> None:
    upstream.asked.clear()
    upstream.first.clear()


def questions(upstream: ScriptedServer) -> list[dict[str, Any]]:
    """Return the questions that reached the server; the proxy also asks it for its models, when it likes."""
    return [fields for path, _, fields in upstream.asked if path.endswith("/chat/completions")]


async def ask(proxy: str, tmp_path: Path, *, key: str = "sk-judge", model: str = "judge") -> ChatReply:
    (tmp_path / "key").write_text(key)
    config = ChatConfig(backend="openai", url=proxy, api_key_file=str(tmp_path / "key"), model=model)
    async with open_openai_chat(config, retry=_RETRY) as chat_model:
        with trio.fail_after(60.0):
            return await chat_model.chat(QUESTION)


async def test_a_question_with_a_picture_is_answered(upstream: ScriptedServer, proxy: str, tmp_path: Path) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105}
    upstream.first.append(completion("<think>It is red.</think>yes", usage=usage))
    reply = await ask(proxy, tmp_path)
    assert (reply.text.strip(), reply.reasoning) == ("yes", "It is red.")
    assert (reply.usage["prompt_tokens"], reply.usage["completion_tokens"]) == (100, 5)
    (fields,) = questions(upstream)
    assert [part["type"] for part in fields["messages"][1]["content"]] == ["image_url", "text"]


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_bad_moment_of_the_upstream_is_waited_out(
    upstream: ScriptedServer, proxy: str, tmp_path: Path, status: int
) -> None:
    upstream.first += [Answer(b'{"error": {"message": "not now"}}', status)] * 2
    assert (await ask(proxy, tmp_path)).text == "yes, it is"
    assert len(questions(upstream)) == 3


async def test_a_refused_question_is_not_asked_again(upstream: ScriptedServer, proxy: str, tmp_path: Path) -> None:
    upstream.first += [Answer(b'{"error": {"message": "against the rules"}}', 400)] * 9
    with pytest.raises(RefusedError, match=r"answered 400: .*against the rules"):
        await ask(proxy, tmp_path)
    assert len(questions(upstream)) == 1


async def test_a_wrong_key_and_an_unknown_model_are_refused_at_once(
    upstream: ScriptedServer, proxy: str, tmp_path: Path
) -> None:
    with pytest.raises(RefusedError, match=r"answered 40\d: "):  # without its database, not 401
        await ask(proxy, tmp_path, key="sk-wrong")
    with pytest.raises(RefusedError, match=r"answered 40\d: .*another"):
        await ask(proxy, tmp_path, model="another")
    assert not questions(upstream)


async def test_an_upstream_that_always_fails_for_a_question_ends_it(
    upstream: ScriptedServer, proxy: str, tmp_path: Path
) -> None:
    upstream.first += [Answer(b"<html>sign in</html>")] * 9
    with pytest.raises(BackendError):
        await ask(proxy, tmp_path)
    assert 1 < len(questions(upstream)) < 9
