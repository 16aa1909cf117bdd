"""What a request must be to reach a route: its host, origin, token, type, size and time."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import openai
import pytest
import trio
from structlog.testing import capture_logs

from gems_actors.gateway import front
from tests.gems_actors.gateway.doors import PROMPT, Door, in_thread, open_painted_door

DRAW = "/v1/images/generations"
SECRET = "a-token-of-alice"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:1234", 200),
        ("[::1]:80", 200),
        ("GEMS.example.org", 200),
        ("evil.example.org", 421),
        ("127.0.0.1.evil.example.org", 421),
        ("localhost@evil.example.org", 421),
        ("", 421),
    ],
)
@pytest.mark.slow
async def test_a_name_that_is_not_ours_is_refused(tmp_path: Path, host: str, status: int) -> None:
    async with open_painted_door(tmp_path, "gateway.hosts=['gems.example.org']") as (door, _), door.http() as http:
        answer = await http.get("/v1/models", headers={"host": host})
        assert answer.status_code == status, answer.text
        assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.slow
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example.org"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
    ],
    ids=str,
)
async def test_pages_of_other_sites_are_refused_and_get_no_cors(tmp_path: Path, headers: dict[str, str]) -> None:
    async with open_painted_door(tmp_path) as (door, painter), door.http() as http:
        answer = await http.post(DRAW, json={"prompt": PROMPT}, headers=headers)
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]
        preflight = await http.options(DRAW, headers={**headers, "access-control-request-method": "POST"})
        assert preflight.status_code in (403, 405)
        assert not painter.begun
        own = await http.post(
            DRAW, json={"prompt": PROMPT}, headers={"origin": door.url, "sec-fetch-site": "same-origin"}
        )
        assert own.status_code == 200


FOLLOWED = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


async def test_a_link_of_another_site_leads_to_the_page_and_does_nothing_else(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter), door.http() as http:
        assert (await http.get("/", headers=FOLLOWED)).status_code == 200
        for changed in (
            {"sec-fetch-dest": "iframe"}, {"sec-fetch-dest": "image"}, {"sec-fetch-mode": "no-cors"},
            {"origin": "https://evil.example.org"},
        ):  # fmt: skip
            assert (await http.get("/", headers={**FOLLOWED, **changed})).status_code == 403, changed
        for method in ("POST", "DELETE"):
            answer = await http.request(method, "/v1/gems/jobs", json={"prompt": PROMPT}, headers=FOLLOWED)
            assert answer.status_code == 403
        assert not painter.begun


async def test_a_body_must_say_that_it_is_json(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter), door.http() as http:
        body = json.dumps({"prompt": PROMPT})
        for media_type in ("text/plain", "application/x-www-form-urlencoded"):
            answer = await http.post(DRAW, content=body, headers={"content-type": media_type})
            assert answer.status_code == 415
        assert (await http.post(DRAW, content=b"{", headers={"content-type": "application/json"})).status_code == 400
        assert (await http.post(DRAW, json=[PROMPT])).status_code == 400
        deep = b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        assert (await http.post(DRAW, content=deep, headers={"content-type": "application/json"})).status_code == 400
        assert not painter.begun


async def test_a_body_that_is_too_large_is_refused(tmp_path: Path) -> None:
    def send(url: str) -> None:
        with httpx.Client(base_url=url, headers={"content-type": "application/json"}, timeout=60.0) as http:
            large = b" " * (front.MAX_BODY_BYTES + 1)
            refused = http.post(DRAW, content=large)
            assert (refused.status_code, refused.json()["error"]["code"]) == (413, "too_large")
            assert http.post(DRAW, content=iter([large[: 512 * 1024]] * 3)).status_code == 413
            ignored = http.request("GET", "/v1/models", content=large * 4)
            assert ignored.status_code == 200, "a body that no route reads does not matter"
            assert http.get("/v1/models").status_code == 200

    async with open_painted_door(tmp_path) as (door, _):
        await in_thread(send, door.url)


async def test_paths_and_methods_that_do_not_exist_have_the_shape_of_an_error(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, _), door.http() as http:
        for answer, status in ((await http.get("/nothing"), 404), (await http.get(DRAW), 405)):
            assert answer.status_code == status
            assert answer.json()["error"]["code"] == "not_found"
            assert "expected a path" in answer.json()["error"]["message"]
        assert (await http.get("/v1/models/")).status_code == 404


async def test_a_gateway_with_tokens_serves_those_who_have_one(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(f'[alice]\ntoken = "{SECRET}"\n')
    tokens.chmod(0o600)
    async with open_painted_door(tmp_path, f"gateway.tokens={tokens}") as (door, painter):
        await in_thread(door.openai(api_key=SECRET).images.generate, prompt=PROMPT)
        assert painter.begun[0].run.startswith("http-alice-")
        with pytest.raises(openai.AuthenticationError) as caught:
            await in_thread(door.openai(api_key="another").images.generate, prompt=PROMPT)
        assert caught.value.code == "invalid_api_key"
        async with door.http() as http:
            assert (await http.get("/v1/models")).status_code == 401
            assert (await http.get("/healthz")).status_code == 200
            for value in ("Basic abc", "Bearer", f"Bearer {SECRET}x", "Bearer \xff"):
                refused = await http.get("/v1/models", headers={b"authorization": value.encode("latin-1")})
                assert refused.status_code == 401
                assert SECRET not in refused.text
        assert len(painter.begun) == 1


@pytest.mark.slow
async def test_tokens_are_read_again_when_their_file_changes(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(f'[alice]\ntoken = "{SECRET}"\n')
    tokens.chmod(0o600)

    async def until(door: Door, token: str, status: int) -> None:
        headers = {"authorization": f"Bearer {token}"}
        async with door.http() as http:
            while (await http.get("/v1/models", headers=headers)).status_code != status:  # noqa: ASYNC110
                await trio.sleep(0.05)  # there is no event: the file is looked at once a second

    with capture_logs() as logs:
        async with open_painted_door(tmp_path, f"gateway.tokens={tokens}") as (door, _):
            await until(door, SECRET, 200)
            tokens.write_text(f'[bob]\ntoken = "{SECRET}-of-bob"\n')
            await until(door, f"{SECRET}-of-bob", 200)
            await until(door, SECRET, 401)
            tokens.write_text("nonsense")
            while "tokens_unusable" not in {line["event"] for line in logs}:  # noqa: ASYNC110
                await trio.sleep(0.05)
            await until(door, f"{SECRET}-of-bob", 200)


async def test_health_is_that_of_the_mesh(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, _), door.http() as http:
        answer: httpx.Response = await http.get("/healthz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_websockets_are_refused_and_the_next_request_is_served(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, _), door.http() as http:
        upgrade = {
            "connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        }  # fmt: skip
        assert (await http.get("/v1/models", headers=upgrade)).status_code == 403
        assert (await http.get("/v1/models")).status_code == 200
