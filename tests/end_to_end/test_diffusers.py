"""A mesh whose generator draws with a real diffusers pipeline, tiny and with random weights, on the CPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import trio
from PIL import Image

from gems_actors.client import open_client
from gems_actors.os_process import EXIT_CONFIG
from protocol.messages import ReadStatus
from tests.gems_actors.backends.diffusion.tiny import save_tiny
from tests.gems_actors.cli.commands import COMMAND, environment, run_gems
from tests.processes import await_gone, descendants, started

pytestmark = pytest.mark.slow

SETTINGS = """
data_dir = "data"
[image]
backend = "diffusers"
model = "{model}"
devices = ["cpu"]
[draw]
width_px = 64
height_px = 64
max_rounds = 2
[log]
format = "json"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    model = save_tiny("z-image", tmp_path)
    path = tmp_path / "mesh.toml"
    path.write_text(SETTINGS.format(model=model.name))
    return path


def test_a_picture_of_a_diffusers_pipeline_goes_through_the_loop(tmp_path: Path, settings: Path) -> None:
    asked = ["--seed", "7", "--steps", "3", "-o", "fox.png", "--json", "--config", str(settings)]
    drawn = run_gems(tmp_path, "draw", "a red fox", *asked)
    assert drawn.returncode == 0, drawn.stderr
    story = json.loads(drawn.stdout)
    assert story["rounds"] == 2, "the storyboard's verifier cannot read such a picture"
    with Image.open(tmp_path / "fox.png") as picture:
        assert picture.size == (64, 64)
        assert ", Model: z-image, " in picture.info["parameters"]
        assert picture.info["parameters"].splitlines()[-1].startswith("Steps: 3, Sampler: default, Seed: ")


def test_status_shows_loading_and_figures_and_images_are_logged(tmp_path: Path, settings: Path) -> None:
    log = tmp_path / "log"
    with (
        log.open("wb") as sink,
        started(
            [*COMMAND, "up", str(settings)],
            cwd=tmp_path,
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=sink,
        ) as mesh,
    ):
        engine = _await_engine(mesh)
        os.kill(engine, signal.SIGSTOP)  # so that its note is seen, however fast it is
        while not (shown := _status(tmp_path).get("generator", {})).get("note"):
            assert mesh.poll() is None, log.read_text()
            assert not shown.get("capacity")
        assert shown["note"] in {"starting an engine", "importing torch"}
        os.kill(engine, signal.SIGCONT)
        assert mesh.stdout is not None
        assert mesh.stdout.readline().startswith("mesh ready")
        below = set(descendants(mesh.pid))
        assert engine in below
        prompts = tmp_path / "prompts.txt"
        prompts.write_text("a red fox\nthree moons\nan old lighthouse\n")
        address = f"ipc://{tmp_path}/gems-actors/router.ipc"
        bulk = [*COMMAND, "bulk", "prompts.txt", "--out", "out", "--router", address, "--config", str(settings)]
        with started(bulk, cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.DEVNULL) as drawing:
            figures = trio.run(_await_busy, address)  # while it draws, because they are of the last ten seconds
            assert drawing.wait(240) == 0
        assert len(list((tmp_path / "out").rglob("*.png"))) == 3
        assert figures["engines"] == 1
        assert figures["restarts"] == 0
        text = run_gems(tmp_path, "status").stdout
        assert "engines 1, restarts 0, busy " in text
        assert " images/s, " in text
        mesh.terminate()
        assert mesh.wait(120) == 0
    assert await_gone(below) == set()
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    images = [line for line in lines if line["event"] == "image_generated"]
    assert len(images) == 6
    assert images[0].keys() >= {"digest", "seconds", "wait_s", "text_s", "denoise_s", "decode_s", "png_s", "batch"}
    assert not [line for line in log.read_text().splitlines() if not line.startswith("{")], (
        "the log holds only JSON lines"
    )


def test_an_impossible_setting_fails_in_one_line_at_the_start(tmp_path: Path, settings: Path) -> None:
    wrong = ["--config", str(settings), "--set", "draw.width_px=72"]
    refused = run_gems(tmp_path, "draw", "a red fox", *wrong)
    warning, line = refused.stderr.splitlines()
    assert (refused.returncode, "reads storyboards only" in warning) == (EXIT_CONFIG, True)
    assert line.endswith("expected sides that are multiples of 16 px, got 72x64")


def _await_engine(mesh: subprocess.Popen[str]) -> int:
    """Return the pid of the engine as soon as it exists."""
    while True:
        assert mesh.poll() is None
        for pid, name in descendants(mesh.pid).items():
            if name == "gems engine":
                return pid
        time.sleep(0.01)  # a pause between looks, so that the mesh gets the processor


async def _await_busy(address: str) -> dict[str, float]:
    """Return the generator's figures as soon as they show steps of an engine."""
    async with open_client(address) as mesh:
        end = trio.current_time() + 240
        while trio.current_time() < end:
            roles = (await mesh.ask(ReadStatus())).roles
            for actor in (actor for role in roles if role.role == "generator" for actor in role.actors):
                if actor.figures.get("busy_share", 0) > 0 and actor.figures["step_s"] > 0:
                    return actor.figures
            await trio.sleep(0.1)
    raise AssertionError("expected figures of an engine that drew")


def _status(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the first actor of each role from `gems status`; empty while no router runs."""
    done = run_gems(folder, "status", "--json")
    if done.returncode:
        return {}
    return {role["role"]: role["actors"][0] for role in json.loads(done.stdout)["roles"] if role["actors"]}
