"""A server behind TLS that offers HTTP/2, as hosted models do."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from hypercorn.config import Config
from hypercorn.trio import serve

from gems_actors.backends import ChatMessage, ChatRequest, TextPart
from gems_actors.backends.model_server import open_model_server
from gems_actors.backends.openai_chat import open_openai_chat
from gems_actors.config import ChatConfig
from gems_actors.errors import BackendError


async def answer(scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    """Answer with the HTTP version of the request."""
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    body = json.dumps({"choices": [{"message": {"content": f"HTTP/{scope['http_version']}"}}]}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})


async def test_http_2_is_used_if_offered_and_an_untrusted_certificate_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "chain.pem"))
    monkeypatch.setenv("NO_PROXY", "localhost")
    question = ChatRequest("decompose", {}, (ChatMessage("user", (TextPart("Hello"),)),))

    config = Config()
    config.bind = ["localhost:0"]
    config.keyfile, config.certfile = str(tmp_path / "key.pem"), str(tmp_path / "chain.pem")
    config.accesslog = config.errorlog = None
    async with trio.open_nursery() as nursery:
        stop = trio.Event()
        (address, *_) = await nursery.start(partial(serve, answer, config, shutdown_trigger=stop.wait))
        settings = ChatConfig(backend="openai", url=f"https://localhost:{address.rpartition(':')[2]}/v1")
        async with open_model_server("chat", "chat", settings) as untrusting:
            with pytest.raises(BackendError, match="CERTIFICATE_VERIFY_FAILED"):
                await untrusting.get("models", max_bytes=1000)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        async with open_openai_chat(settings) as model, trio.open_nursery() as requests:

            async def ask() -> None:
                assert (await model.chat(question)).text == "HTTP/2"

            for _ in range(20):
                requests.start_soon(ask)
        stop.set()
