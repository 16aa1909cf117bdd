"""Waiting for model servers at the start of a run and later."""

from __future__ import annotations

import re
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from gems_actors.app import bulk
from gems_actors.app.bulk import BulkOptions, spec_of
from gems_actors.app.bulk.running.outage import MAX_FAILURES
from gems_actors.app.bulk.running.servers import LeftUndoneError, Servers, server_models
from gems_actors.config import load_config
from gems_actors.errors import (
    BackendError,
    BlobError,
    ConfigError,
    PoisonedError,
    RefusedError,
    RequestError,
    storage_fault,
)
from gems_actors.tasks import open_background
from tests.gems_actors.app.meshes import open_drawing_mesh
from tests.gems_actors.backends.chats import completion
from tests.gems_actors.backends.servers import Answer, ScriptedServer, drawn, open_server


def settings(*overrides: str) -> list[tuple[str, list[str | None]]]:
    """Return the tables of the models that are waited for with these settings, with the addresses of their servers."""
    config = load_config(None, settings=("chat.url=http://a/v1", "image.url=http://i/v1", *overrides))
    return [(model.table, [server.url for server in model.servers]) for model in server_models(config)]


def test_models_of_servers_are_waited_for_with_their_fallbacks_and_others_are_not() -> None:
    chat, image = "chat.backend=openai", "image.backend=openai"
    assert settings() == []
    assert settings(chat) == [("chat", ["http://a/v1"])]
    assert settings(image) == [("image", ["http://i/v1"])]
    assert settings(chat, 'chat.fallbacks=[{url="http://b/v1"}]') == [("chat", ["http://a/v1", "http://b/v1"])]
    own = "chat.roles.verifier.url=http://v/v1"
    assert settings(chat, own) == [("chat", ["http://a/v1"]), ("chat.roles.verifier", ["http://v/v1"])]
    second = 'verify.second_opinion={url="http://s/v1"}'
    assert settings(chat, second) == [("chat", ["http://a/v1"]), ("verify.second_opinion", ["http://s/v1"])]


def test_models_of_roles_that_other_hosts_play_are_not_waited_for() -> None:
    chat, own = "chat.backend=openai", "chat.roles.verifier.url=http://v/v1"
    assert settings("image.backend=openai", "roles.generator.count=0") == []
    assert settings(chat, own, "roles.verifier.count=0") == [("chat", ["http://a/v1"])]
    others = [f"roles.{role}.count=0" for role in ("planner", "decomposer", "compressor", "refiner")]
    assert settings(chat, own, *others) == [("chat.roles.verifier", ["http://v/v1"])]


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


async def wait_for(wait_s: float, *overrides: str, lines: list[str] | None = None) -> Servers:
    """Wait for the servers of these settings, and return what has waited."""
    shown: list[str] = [] if lines is None else lines
    servers = Servers(load_config(None, settings=overrides), wait_s, shown.append)
    with servers.scope:
        await servers.wait_until_ready()
    return servers


def chat_at(port: int, *more: str) -> tuple[str, ...]:
    return ("chat.backend=openai", f"chat.url=http://127.0.0.1:{port}/v1", *more)


@pytest.mark.slow
async def test_a_run_waits_until_its_servers_are_ready_and_says_what_it_waits_for() -> None:
    port, lines = free_port(), list[str]()
    config = load_config(None, settings=chat_at(port))
    servers = Servers(config, 600.0, lines.append)
    async with open_background() as nursery:
        ended = trio.Event()

        async def wait() -> None:
            await servers.wait_until_ready()
            ended.set()

        nursery.start_soon(wait)
        while not servers.note():  # noqa: ASYNC110 -- there is no event for a note
            await trio.sleep(0.01)
        assert not ended.is_set()
        url = f"chat server at http://127.0.0.1:{port}/v1"
        assert re.match(rf"waiting for servers, \d+ of 600 s: {url}: ConnectError", servers.note())
        with open_server(ScriptedServer(lambda fields: completion()), port):
            await ended.wait()
    assert (servers.stopped, servers.note()) == ("", "")
    assert len(lines) == 1
    assert lines[0].startswith(f"waiting up to 600 s for servers: {url}: ConnectError")


@pytest.mark.slow
async def test_a_run_stops_when_no_server_is_ready_in_time() -> None:
    first, second = free_port(), free_port()
    overrides = chat_at(first, f'chat.fallbacks=[{{url="http://127.0.0.1:{second}/v1"}}]')
    servers = await wait_for(0.6, *overrides)
    assert servers.scope.cancel_called
    assert servers.stopped.startswith("no server was ready within 0.6 s: chat server at ")
    assert f":{first}/v1" in servers.stopped
    assert f":{second}/v1" in servers.stopped


async def test_without_a_time_to_wait_a_server_must_be_ready_at_once() -> None:
    servers = await wait_for(0.0, *chat_at(free_port()))
    assert servers.stopped.startswith("no server was ready within 0 s: chat server at ")
    with open_server(ScriptedServer(drawn)) as image:
        ready = await wait_for(0.0, "image.backend=openai", f"image.url={image.url}")
    assert ready.stopped == ""


async def test_a_fallback_that_is_ready_is_enough_and_a_refused_key_ends_the_wait() -> None:
    with open_server(ScriptedServer(lambda fields: completion())) as server:
        fallback = f'chat.fallbacks=[{{url="{server.url}"}}]'
        assert (await wait_for(600.0, *chat_at(free_port(), fallback))).stopped == ""
        server.files["/v1/models"] = Answer(b"who are you?", 401)
        with pytest.raises(ConfigError, match=r"chat.fallbacks\[0\].api_key_env: expected the name of a variable"):
            await wait_for(600.0, *chat_at(free_port(), fallback))
        with pytest.raises(ConfigError, match=r"chat\.api_key_env: expected the name of a variable"):
            await wait_for(600.0, "chat.backend=openai", f"chat.url={server.url}")


# ------------------------------------------------------------------------------------------------ tasks that fail


def outage(message: str = "connection refused") -> RequestError:
    error = BackendError(message)
    error.is_outage = True
    return error


def answering(*fates: RequestError | str) -> Callable[[], Awaitable[str]]:
    """Return a request that fails or is answered as given, once each; the last fate is repeated."""
    left = list(fates)

    async def ask() -> str:
        await trio.sleep(1.0)
        fate = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(fate, str):
            return fate
        raise fate

    return ask


def new_servers(wait_s: float = 60.0) -> Servers:
    return Servers(None, wait_s, print)


@pytest.mark.virtual_time
async def test_a_task_whose_failures_the_servers_caused_is_tried_until_they_are_back() -> None:
    servers = new_servers(600.0)
    assert await servers.keep_asking(answering(*[outage()] * 9, "picture")) == "picture"
    assert servers.stopped == ""


@pytest.mark.virtual_time
@pytest.mark.parametrize("error", [RefusedError("400: unsafe"), PoisonedError("poison"), BackendError("empty answer")])
async def test_refusals_and_poisoned_requests_fail_at_once_and_never_stop_a_run(error: RequestError) -> None:
    servers = new_servers(0.0)
    for _ in range(3 * MAX_FAILURES):
        with pytest.raises(type(error)):
            await servers.keep_asking(answering(error))
    assert (servers.stopped, servers.note()) == ("", "")


@pytest.mark.virtual_time
async def test_a_run_stops_when_its_servers_stay_away_and_cancels_what_waits_for_them() -> None:
    servers, failed = new_servers(), list[RequestError]()

    async def draw() -> None:
        try:
            await servers.keep_asking(answering(outage()))
        except RequestError as error:
            failed.append(error)

    began = trio.current_time()
    with servers.scope:
        async with trio.open_nursery() as nursery:
            for _ in range(32):
                nursery.start_soon(draw)
            await trio.sleep(30.0)
            assert servers.note() == "waiting for servers, 29 of 60 s: connection refused"
    assert failed == [], "they stay undone"
    assert servers.stopped.endswith("s: connection refused")
    assert 61.0 <= trio.current_time() - began < 90.0


@pytest.mark.virtual_time
async def test_a_task_that_fails_while_others_succeed_fails_after_a_few_tries() -> None:
    servers = new_servers()

    async def draw_others() -> None:
        while True:
            await servers.keep_asking(answering("picture"))

    async with open_background() as nursery:
        for _ in range(2):
            nursery.start_soon(draw_others)
            await trio.sleep(0.5)
        with pytest.raises(BackendError, match="always late"):
            await servers.keep_asking(answering(outage("always late")))
    assert servers.stopped == ""


@pytest.mark.virtual_time
async def test_the_end_of_a_run_leaves_tasks_that_wait_for_servers_undone() -> None:
    servers, interrupted = new_servers(600.0), trio.Event()
    async with open_background() as nursery:
        nursery.start_soon(servers.end_at, interrupted)
        with trio.fail_after(10.0):
            await trio.sleep(5.0)
            interrupted.set()
            with pytest.raises(LeftUndoneError):
                await servers.keep_asking(answering(outage()))


@pytest.mark.slow
async def test_a_run_with_a_mesh_that_finds_no_server_fails_no_task(tmp_path: Path) -> None:
    file, out = tmp_path / "prompts.txt", tmp_path / "out"
    file.write_text("a red dog\n" * MAX_FAILURES)
    nowhere = ("image.backend=openai", f"image.url=http://127.0.0.1:{free_port()}/v1")
    async with open_drawing_mesh(tmp_path, settings=nowhere) as options:
        result = await bulk.run(
            BulkOptions(spec=spec_of(file, options), file=file, out=out, router=options.router, wait_for_servers_s=0.0)
        )
    assert (result.outcome, result.tally.failed) == ("unavailable", 0)
    assert result.unfinished.startswith("no server has answered for ")
    assert result.unfinished.endswith(": 0 of 5 done, 5 left; the same command continues")
    assert (out / "failed.jsonl").read_bytes() == b""


async def test_a_disk_that_fails_stops_the_run_and_a_lost_picture_fails_its_task() -> None:
    async def fail(error: BlobError) -> None:
        raise error

    servers = Servers(None, 600.0, print)
    with pytest.raises(BlobError, match="lost"):
        await servers.stop_at_bad_disk(lambda: fail(BlobError("lost")))
    before = servers.stopped
    fault = BlobError("too many open files")
    storage_fault(fault)
    with servers.scope, pytest.raises(LeftUndoneError):
        await servers.stop_at_bad_disk(lambda: fail(fault))
    assert (before, servers.stopped) == ("", "too many open files")
