"""Pictures to draw from at every door: the command line, a bulk and HTTP, all with the storyboard."""

from __future__ import annotations

import io
import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gems_actors.app.references.pictures import reference_in
from tests.gems_actors.backends.storyboard.pictures import draw_without_errors
from tests.gems_actors.cli.commands import run_gems
from tests.gems_actors.gateway.doors import in_thread, open_drawing_door

pytestmark = pytest.mark.slow

GIVEN = "two red dogs"
PROMPT = "make the dogs blue"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Image.open(io.BytesIO(draw_without_errors(GIVEN))) as image:
        image.save(tmp_path / "dogs.png")
    return tmp_path


def is_edited(story: dict[str, Any]) -> bool:
    """Return whether a picture shows what the prompt changes, and everything that it does not change."""
    questions = {item["question"] for item in story["requirements"]}
    return story["all_met"] and any("blue" in question for question in questions)


def test_a_command_edits_a_picture_and_says_so_in_its_file(folder: Path) -> None:
    done = run_gems(folder, "draw", PROMPT, "--image", "dogs.png", "-o", "blue.png", "--seed", "3", "--json")
    assert done.returncode == 0, done.stderr
    story = json.loads(done.stdout)
    assert is_edited(story)
    assert "drawn from 1 picture: 768x768 px" in done.stderr
    assert story["references"], "the last picture is drawn from the given one, or is an edit of an earlier round"
    once, again = (
        (folder / "blue.png").read_bytes(),
        run_gems(folder, "draw", PROMPT, "--image", "dogs.png", "-o", "again.png", "--seed", "3"),
    )
    assert again.returncode == 0
    assert (folder / "again.png").read_bytes() == once


def test_a_bulk_edits_the_picture_of_each_record(folder: Path) -> None:
    records = [{"prompt": PROMPT, "image": "dogs.png"}, {"prompt": "a red pig"}, {"prompt": PROMPT, "image": "no.png"}]
    (folder / "edits.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    checked = run_gems(folder, "bulk", "edits.jsonl", "--out", "out", "--dry-run")
    assert checked.returncode == 1
    assert "with pictures 1" in checked.stdout
    assert "edits.jsonl: record 3: image: no.png: expected a readable file" in checked.stderr
    done = run_gems(folder, "bulk", "edits.jsonl", "--out", "out")
    assert done.returncode == 1, done.stderr
    rows = [json.loads(line) for line in (folder / "out/dataset/metadata.jsonl").read_text().splitlines()]
    assert [row.get("references") for row in rows] == [["dogs.png"], None]
    assert is_edited(rows[0])
    page = (folder / "out/report.html").read_text()
    assert page.count("<h4>Given</h4>") == 1
    assert run_gems(folder, "bulk", "prune", "out").returncode == 0
    assert run_gems(folder, "bulk", "report", "out").returncode == 0
    assert (folder / "out/report.html").read_text().count('alt="Given picture 1 dogs.png."') == 1, (
        "what was given stays"
    )


async def test_a_client_of_openai_edits_a_picture(folder: Path) -> None:
    data = (folder / "dogs.png").read_bytes()
    async with open_drawing_door(folder, "draw.width_px=512", "draw.height_px=512") as door:
        answer = await in_thread(door.openai().images.edit, image=data, prompt=PROMPT, extra_body={"seed": 3})
        assert answer.data is not None
        story = (answer.data[0].model_extra or {})["gems"]
        assert story["all_met"]
        async with door.http() as client:
            found = (await client.get(f"/v1/gems/trajectories/{story['trajectory']}")).json()
    assert Image.open(io.BytesIO(b64decode(answer.data[0].b64_json or ""))).size == (512, 512)
    assert len(found["references"]) == 1
    assert reference_in(data).ref.width_px == found["references"][0]["width_px"]
