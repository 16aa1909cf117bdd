"""Clients that are not ours: LiteLLM's proxy in front of the gateway, OpenAI's SDK for Node, Open WebUI's request."""

from __future__ import annotations

import io
import json
import shutil
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

import openai
import pytest
import trio
from PIL import Image

from gems_actors.errors import OverloadedError, RefusedError
from tests.gems_actors.backends.litellm_proxy import open_litellm
from tests.gems_actors.gateway.doors import PROMPT, in_thread, open_painted_door

NODE, NODE_SDK = shutil.which("node"), Path(sys.prefix) / "node/node_modules/openai"


@pytest.mark.slow
async def test_litellm_in_front_of_the_gateway_draws_and_passes_failures_on(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter):
        served = [
            {
                "model_name": name,
                "litellm_params": {"model": f"openai/{model}", "api_base": f"{door.url}/v1", "api_key": "none"},
                "model_info": {"mode": "image_generation"},
            }
            for name, model in (("picture", "storyboard+gems"), ("nothing", "dall-e-3"))
        ]

        def use(url: str) -> None:
            with openai.OpenAI(base_url=url, api_key="sk-proxy", max_retries=0, timeout=60.0) as client:
                answer = client.images.generate(prompt=PROMPT, model="picture", n=2, size="128x64")
                pictures = [Image.open(io.BytesIO(b64decode(item.b64_json or ""))) for item in answer.data or ()]
                assert [picture.size for picture in pictures] == [(128, 64)] * 2
                seeded = client.images.generate(prompt=PROMPT, model="picture", extra_body={"seed": 7})
                assert seeded.data
                with pytest.raises(openai.NotFoundError, match="storyboard"):
                    client.images.generate(prompt=PROMPT, model="nothing")
                with pytest.raises(openai.BadRequestError, match="up to 2048 pixels"):
                    client.images.generate(prompt=PROMPT, model="picture", size="4096x64")
                painter.failure = RefusedError("not this")
                with pytest.raises(openai.BadRequestError, match="not this"):
                    client.images.generate(prompt=PROMPT, model="picture")
                painter.failure = OverloadedError("too many", 3.0)
                with pytest.raises(openai.RateLimitError):
                    client.images.generate(prompt=PROMPT, model="picture")

        def run() -> None:
            folder = tmp_path / "litellm"
            folder.mkdir()
            with open_litellm(folder, served, key="sk-proxy") as url:
                use(url)

        await in_thread(run)
        assert painter.begun[0].settings.width_px == 128
        assert 7 in {task.seed for task in painter.begun}


@pytest.mark.slow
@pytest.mark.skipif(NODE is None or not NODE_SDK.is_dir(), reason="needs Node and its package openai")
async def test_the_sdk_for_node_draws_streams_and_knows_our_errors(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter):
        painter.rounds = 2
        script = Path(__file__).with_name("node_client.cjs")
        command = [str(NODE), str(script), str(NODE_SDK), f"{door.url}/v1"]
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        found: dict[str, Any] = json.loads(done.stdout)
        assert "storyboard+gems" in found["models"]
        assert found["starts"] == ["PNG", "PNG"]
        assert found["seeds"][0] == 7
        assert found["events"] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
        assert found["error"]["requestID"].startswith("req_")
        assert (found["error"]["kind"], found["error"]["param"]) == ("BadRequestError", "size")


async def test_the_request_that_open_webui_sends_is_answered_with_what_it_reads(tmp_path: Path) -> None:
    """Its images engine `openai`, with our address as base.

    Source: https://github.com/open-webui/open-webui, backend/open_webui/routers/images.py, image_generations.
    """
    async with open_painted_door(tmp_path) as (door, painter), door.http() as http:
        answer = await http.post(
            "/v1/images/generations?api-version=1",
            json={
                "model": "storyboard+gems", "prompt": PROMPT, "n": 1, "size": "512x512", "response_format": "b64_json",
            },
            headers={
                "authorization": "Bearer none", "content-type": "application/json", "x-openwebui-user-name": "Ann",
                "x-openwebui-user-id": "7", "x-openwebui-user-role": "user",
            },
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        (drawn,) = answer.json()["data"]
        assert "url" not in drawn, "which it would fetch in place of the bytes"
        assert Image.open(io.BytesIO(b64decode(drawn["b64_json"]))).size == (512, 512)
        assert painter.begun[0].settings.width_px == 512
        models = (await http.get("/v1/models", headers={"authorization": "Bearer none"})).json()
        assert "storyboard+gems" in [model["id"] for model in models["data"]]
