"""Reports of jobs that are over, to a real server, verified by the real OpenAI SDK."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import openai
import pytest
import trio

from gems_actors.gateway.jobs.records import Webhook
from gems_actors.gateway.jobs.webhooks import report, signed_headers
from tests.gems_actors.gateway.doors import PROMPT, open_painted_door

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123").decode()


class Listener:
    """A server that answers with some statuses, one after another, and keeps what it got."""

    def __init__(self, statuses: list[int]) -> None:
        self.statuses = statuses
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.port = 0
        self._changed = trio.Event()

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._answer, listeners)

    async def until(self, count: int) -> None:
        while len(self.got) < count:
            await self._changed.wait()

    async def _answer(self, stream: trio.SocketStream) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive_some()
        head, _, body = data.partition(b"\r\n\r\n")
        lines = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:]]
        headers = {name.lower(): value for name, value in lines}
        while len(body) < int(headers["content-length"]):
            body += await stream.receive_some()
        self.got.append((headers, body))
        status = self.statuses[min(len(self.got), len(self.statuses)) - 1]
        await stream.send_all(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        self._changed.set()
        self._changed = trio.Event()


async def test_the_end_of_a_job_is_reported_until_it_is_answered(tmp_path: Path) -> None:
    listener = Listener([500, 302, 204])
    settings = ("gateway.webhook_hosts=['127.0.0.1']",)
    async with trio.open_nursery() as nursery:
        await nursery.start(listener.serve)
        async with open_painted_door(tmp_path, *settings, webhook_delays_s=(0.0, 0.05, 0.05, 0.05)) as (door, _):
            hook = {"url": f"http://127.0.0.1:{listener.port}/hook", "secret": SECRET}
            answer = await door.post("/v1/gems/jobs", {"prompt": PROMPT, "webhook": hook})
            assert answer.status_code == 202
            assert SECRET not in answer.text
            await listener.until(3)
        nursery.cancel_scope.cancel()
    assert len({headers["webhook-id"] for headers, _ in listener.got}) == 1
    headers, body = listener.got[-1]
    verify = openai.OpenAI(api_key="none").webhooks.verify_signature
    verify(body, headers, secret=SECRET)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        verify(body + b" ", headers, secret=SECRET)
    found: dict[str, Any] = json.loads(body)
    assert found["type"] == "gems.job.completed"
    assert found["data"]["counts"]["done"] == 1


async def test_a_report_that_nobody_answers_is_given_up() -> None:
    hook = Webhook(url="http://127.0.0.1:1/hook", secret=SECRET)
    assert not await report(hook, "job-1", b"{}", delays_s=(0.0, 0.0))


def test_a_signature_is_that_of_the_standard() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    headers = signed_headers(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
