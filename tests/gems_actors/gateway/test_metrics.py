"""Metrics of the whole mesh."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import trio

from tests.gems_actors.gateway.doors import PROMPT, open_drawing_door

pytestmark = pytest.mark.slow


@pytest.mark.skipif(shutil.which("promtool") is None and "CI" not in os.environ, reason="needs promtool of Prometheus")
async def test_metrics_count_what_the_mesh_has_drawn_and_promtool_accepts_them(tmp_path: Path) -> None:
    async with open_drawing_door(tmp_path) as door, door.http() as http:
        drawn = await http.post("/v1/images/generations", json={"prompt": PROMPT, "n": 2})
        images = sum(item["gems"]["images"] for item in drawn.json()["data"])
        while f"gems_images_total {images}\n" not in (text := (await http.get("/metrics")).text):  # noqa: ASYNC110
            await trio.sleep(0.05)  # heartbeats bring them
        for name in ("gems_tasks_total{", "gems_rounds_total", "gems_work_seconds_total{", "gems_role_queue_depth{"):
            assert f"\n{name}" in text
        assert 'gems_role_call_duration_seconds_count{role="conductor"} 2\n' in text
    command = ["promtool", "check", "metrics"]
    done = await trio.run_process(command, stdin=text.encode(), capture_stdout=True, capture_stderr=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
