"""Chat through LiteLLM's proxy, the gateway that many labs have in front of their servers; the upstream is scripted.

What the proxy makes of an answer or a refusal is its own: its code, body and headers reach the client, not the
upstream's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from gems_actors.backends import ChatReply
from gems_actors.backends.failover import RetryPolicy
from gems_actors.backends.openai_chat import open_openai_chat
from gems_actors.config import ChatConfig
from gems_actors.errors import BackendError, RefusedError
from tests.gems_actors.backends.chats import QUESTION, completion
from tests.gems_actors.backends.servers import Answer, ScriptedServer, open_server
from tests.gems_actors.cli.commands import environment
from tests.processes import started

pytestmark = pytest.mark.slow

_RETRY = RetryPolicy(first_backoff_s=0.001, max_backoff_s=0.002)


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedServer]:
    with open_server(ScriptedServer(lambda fields: completion("yes, it is"))) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(upstream: ScriptedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a proxy that serves the model `judge` and needs the key `sk-judge`."""
    folder = tmp_path_factory.mktemp("litellm")
    served = {"model": "openai/upstream", "api_base": upstream.url, "api_key": "none"}
    settings = {
        "model_list": [{"model_name": "judge", "litellm_params": served}],
        "litellm_settings": {"num_retries": 0},
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        "general_settings": {"master_key": "sk-judge"},
    }
    (folder / "proxy.yaml").write_text(json.dumps(settings))  # JSON is YAML
    port_file = folder / "port"
    python = Path(sys.prefix) / "litellm/bin/python"  # the proxy's own environment; its pins contradict ours
    command = [str(python), "-c", _SERVE, str(folder / "proxy.yaml"), str(port_file)]
    env = environment(folder, LITELLM_LOCAL_MODEL_COST_MAP="True", NO_PROXY="127.0.0.1")
    with (folder / "log").open("wb") as log, started(command, env=env, stdout=log, stderr=subprocess.STDOUT) as process:
        with httpx.Client(trust_env=False) as client:
            while True:  # until it answers
                assert process.poll() is None, (folder / "log").read_text()
                try:
                    url = f"http://127.0.0.1:{int(port_file.read_text())}"
                    client.get(f"{url}/health/liveliness", timeout=5.0).raise_for_status()
                    break
                except (OSError, ValueError, httpx.HTTPError):
                    time.sleep(0.1)  # it takes many seconds to start, and needs the processor
        yield f"{url}/v1"


_SERVE = """\
import os, socket, sys, uvicorn
os.environ["CONFIG_FILE_PATH"] = sys.argv[1]
from litellm.proxy.proxy_server import app
server = socket.create_server(("127.0.0.1", 0))
open(sys.argv[2], "w").write(str(server.getsockname()[1]))
uvicorn.Server(uvicorn.Config(app)).run(sockets=[server])
"""


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
