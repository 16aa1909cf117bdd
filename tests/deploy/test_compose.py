"""The compose file: what its service runs is started here as a process, with its settings and its health check."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.gems_actors.cli.commands import COMMAND, environment
from tests.processes import started

FILE = Path(__file__).parents[2] / "deploy" / "compose.yaml"
SERVICE: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]["mesh"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.mark.slow
def test_the_service_serves_http_with_its_token_and_is_healthy_by_its_own_check(tmp_path: Path) -> None:
    port = free_port()
    settings = {**SERVICE["environment"], "GEMS_TOKENS": "me=0123456789abcdef0123456789abcdef"}
    settings |= {"GEMS__DATA_DIR": str(tmp_path / "data"), "GEMS__GATEWAY__ADDRESS": f"0.0.0.0:{port}"}
    variables = {**environment(tmp_path), **settings}
    command = [*COMMAND, *SERVICE["command"]]
    check = [*COMMAND, *SERVICE["healthcheck"]["test"][2:]]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=variables, cwd=tmp_path) as mesh:
        assert mesh.stdout is not None
        assert "mesh ready" in mesh.stdout.readline()
        healthy = subprocess.run(check, env=variables, capture_output=True, text=True, check=False)
        assert healthy.returncode == 0, healthy.stderr
        url = f"http://127.0.0.1:{port}/v1/models"
        assert httpx.get(url).status_code == 401
        models = httpx.get(url, headers={"Authorization": f"Bearer {settings['GEMS_TOKENS'].partition('=')[2]}"})
        assert "storyboard+gems" in {model["id"] for model in models.json()["data"]}


def test_only_this_host_reaches_the_service_and_it_writes_only_its_volume() -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICE["ports"])
    assert SERVICE["read_only"]
    assert SERVICE["cap_drop"] == ["ALL"]
    assert SERVICE["volumes"] == ["data:/data"]
    assert SERVICE["environment"]["GEMS__DATA_DIR"].startswith("/data/")


def test_the_service_is_built_from_our_container_file_with_the_extras_that_its_settings_need() -> None:
    build = SERVICE["build"]
    assert (FILE.parent / build["context"] / build["dockerfile"]).samefile(FILE.with_name("Containerfile"))
    assert "gateway" in build["args"]["EXTRAS"].split(",")
    assert SERVICE["healthcheck"]["test"][:2] == ["CMD", "gems"]


def test_it_does_not_start_without_a_token_and_says_what_to_set() -> None:
    required = SERVICE["environment"]["GEMS_TOKENS"]
    assert re.fullmatch(r"\$\{GEMS_TOKENS:\?expected NAME=TOKEN, .*\}", required)
