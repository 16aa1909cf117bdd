"""Which failures of a server say that any other request would fail as well, and which are the fault of the request."""

from __future__ import annotations

import pytest
import trio

from gems_actors.backends.failover import FailoverPool
from gems_actors.errors import RequestError
from tests.gems_actors.backends.servers import Answer, ScriptedServer, drawn, open_server
from tests.gems_actors.backends.test_failover import FakeServer, call
from tests.gems_actors.backends.test_openai_images import generate

STATUSES = {400: False, 401: True, 402: True, 403: False, 404: True, 413: False, 422: False, 451: False}


async def test_a_refusal_is_an_outage_if_the_status_is_about_the_client_or_the_model() -> None:
    found = {}
    with open_server(ScriptedServer(drawn)) as server:
        for status in STATUSES:
            server.rule = lambda fields, status=status: Answer(b'{"error": {"message": "no"}}', status)  # type: ignore[misc]  # mypy infers no default
            with pytest.raises(RequestError) as caught:
                await generate(server)
            found[status] = caught.value.is_outage
    assert found == STATUSES


async def test_an_address_where_no_server_answers_is_an_outage() -> None:
    with open_server(ScriptedServer(drawn)) as server:
        gone = ScriptedServer(drawn)
        gone.url = server.url
    with pytest.raises(RequestError) as caught:
        await generate(gone)
    assert caught.value.is_outage


@pytest.mark.virtual_time
@pytest.mark.parametrize("fate", ["busy", "busy for 8 s", "gone"])
async def test_servers_that_are_busy_or_gone_until_the_deadline_are_an_outage(fate: str) -> None:
    # answers take no time: the deadline would cancel one that it met, which tells nothing of the server
    pool = FailoverPool([FakeServer("a", lambda number: "answer" if number else fate, takes_s=0.0)])
    await call(pool, 1)
    with pytest.raises(RequestError) as caught, trio.fail_after(30.0):
        await call(pool)
    assert caught.value.is_outage


@pytest.mark.virtual_time
async def test_a_request_that_fails_at_a_server_that_answers_others_is_no_outage() -> None:
    pool = FailoverPool([FakeServer("a", lambda number: "answer" if number else "broken")])
    async with trio.open_nursery() as nursery:

        async def ask_another() -> None:
            while True:
                await call(pool, 1)

        nursery.start_soon(ask_another)
        with pytest.raises(RequestError) as caught:
            await call(pool)
        nursery.cancel_scope.cancel()
    assert not caught.value.is_outage
