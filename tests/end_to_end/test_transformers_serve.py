"""The whole loop on a third-party server: `transformers serve`, with a tiny model built by the test."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.gems_actors.cli.commands import environment, run_gems
from tests.processes import started

pytestmark = pytest.mark.slow

REQUIREMENTS: Final = [
    {"id": "r1", "question": "Is there a fox in the image?", "kind": "object", "depends_on": None},
    {"id": "r2", "question": "Is the sky over it blue?", "kind": "attribute", "depends_on": None},
]
ANSWERS: Final = {
    "route": '{"skill": null}',
    "decompose": json.dumps({"requirements": REQUIREMENTS}),
    "verify": "no: there is nothing of the kind.",
    "compress": "Say first what must be there, and say it once.",
    "refine": '{"diagnosis": "The fox was lost.", "prompt": "a red fox under a blue sky, in the middle"}',
}


@dataclass
class Served:
    """A running server."""

    url: str
    model: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("vlm")
    model, log = folder / "tiny-vlm", folder / "log"
    (folder / "home/hub").mkdir(parents=True)
    env = environment(folder, HF_HOME=str(folder / "home"), HF_HUB_OFFLINE="1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "tests.end_to_end.tiny_vlm", str(model), json.dumps(ANSWERS), "serve", str(model)),
        *("--device", "cpu", "--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)),
    ]
    root = Path(__file__).parents[2]
    with log.open("wb") as sink, started(command, env=env, cwd=root, stdout=sink, stderr=sink) as server:
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(transport=httpx.HTTPTransport(), timeout=5.0, trust_env=False) as client:
            while True:
                assert server.poll() is None, log.read_text()
                try:
                    client.get(f"{url}/health")
                    break
                except httpx.TransportError:
                    time.sleep(0.1)  # it takes a minute to start, and needs the processor
        yield Served(f"{url}/v1", str(model))


def draw(folder: Path, served: Served, *flags: str) -> subprocess.CompletedProcess[str]:
    options = [word for flag in flags for word in ("--set", flag)]
    chat = ["--set", "chat.backend=openai", "--set", f"chat.url={served.url}", "--set", f"chat.model={served.model}"]
    asked = ["draw", "a red fox", "--seed", "7", "--rounds", "2", "--json", "-o", "fox.png", *chat, *options]
    return run_gems(folder, *asked, more={"NO_PROXY": "127.0.0.1"})


def test_every_role_of_the_loop_works_with_a_served_model(tmp_path: Path, served: Served) -> None:
    done = draw(tmp_path, served)
    assert done.returncode == 0, done.stderr
    story = json.loads(done.stdout)
    assert (story["rounds"], story["outcome"], story["met"]) == (2, "rounds_spent", 0)
    assert [{key: item[key] for key in REQUIREMENTS[0]} for item in story["requirements"]] == REQUIREMENTS
    assert [item["answer"] for item in story["requirements"]] == ["unmet", "unmet"]
    spent = story["spent"]
    for role in ("planner", "decomposer", "verifier", "compressor", "refiner"):
        assert spent[role]["calls"] >= 1, role
        assert spent[role]["prompt_tokens"] > 1000, f"{role}: its rules alone are longer"
        assert spent[role]["completion_tokens"] >= 1, role
    assert 4 <= spent["verifier"]["calls"] <= 6, (
        "two a round, plus a few that first ask for probabilities the server does not return"
    )
    assert (tmp_path / "fox.png").exists()


def test_a_model_that_is_not_served_fails_with_the_server_s_message_in_one_line(tmp_path: Path, served: Served) -> None:
    done = draw(tmp_path, Served(served.url, "another/model"))
    assert done.returncode == 1
    *_, line = done.stderr.splitlines()  # the lines before name the seed, and a picture that this judge does not know
    assert line.startswith(f"gems: chat server at {served.url}: answered 400: ")
    assert "another/model" in line
