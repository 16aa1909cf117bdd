"""Verdicts come from the pixels of the picture alone, and are right."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing
from PIL import Image

from gems_actors.backends import ImageRequest
from gems_actors.backends.storyboard import StoryboardChatModel
from gems_actors.backends.storyboard.claims import ask
from gems_actors.backends.storyboard.grammar import parse_scene
from gems_actors.backends.storyboard.models import draw_request, judge_question
from gems_actors.backends.storyboard.reading import Seen, look
from gems_actors.backends.storyboard.scene import Claim, claims_of
from gems_actors.errors import BackendError
from tests.gems_actors.backends.storyboard.pictures import (
    PROMPTS,
    draw_without_errors,
    encode_again,
    request_verdict,
    verify,
)

_JUDGE = """
import json, sys
from pathlib import Path
from tests.gems_actors.backends.storyboard.pictures import verify
picture = Path(sys.argv[1]).read_bytes()
print(json.dumps([verify(question, picture) for question in json.loads(sys.argv[2])]))
"""


def questions_of(prompt: str) -> list[str]:
    scene = parse_scene(prompt)
    return [ask(claim, scene) for claim in claims_of(scene)]


def misses(prompt: str, picture: bytes) -> list[str]:
    seen = look(picture)
    return [question for question in questions_of(prompt) if not judge_question(question, seen)[0].startswith("yes")]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.slow
def test_every_requirement_is_met_in_a_picture_without_errors(prompt: str) -> None:
    assert questions_of(prompt)
    assert misses(prompt, draw_without_errors(prompt)) == []


@pytest.mark.parametrize("prompt", PROMPTS[:9:2] + PROMPTS[15:18])
@pytest.mark.parametrize(("width_px", "height_px"), [(512, 512), (1344, 768), (640, 1024)])
@pytest.mark.slow
def test_requirements_are_read_at_any_size_down_to_512(prompt: str, width_px: int, height_px: int) -> None:
    assert misses(prompt, draw_without_errors(prompt, width_px=width_px, height_px=height_px)) == []


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGB"), ("PNG", "RGBA"), ("JPEG", "RGB")])
@pytest.mark.parametrize("prompt", PROMPTS[5:18:3])
@pytest.mark.slow
def test_a_picture_is_read_after_being_encoded_again(prompt: str, kind: str, mode: str) -> None:
    assert misses(prompt, encode_again(draw_without_errors(prompt), kind=kind, mode=mode)) == []


@pytest.mark.slow
def test_another_process_judges_the_picture_alone(tmp_path: Path) -> None:
    prompt = PROMPTS[8]
    lost = Claim("count", "lion", "5")
    path = tmp_path / "picture.png"
    path.write_bytes(encode_again(draw_without_errors(prompt, lost)))
    questions = questions_of(prompt)
    command = [sys.executable, "-c", _JUDGE, str(path), json.dumps(questions)]
    answers = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    wrong = [question for question, answer in zip(questions, answers, strict=True) if answer != "yes"]
    assert wrong == ["Are there exactly five lions in the image?"]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.slow
def test_an_error_is_found_and_no_other(prompt: str) -> None:
    scene = parse_scene(prompt)
    for claim in claims_of(scene):
        if claim.kind != "object":
            assert misses(prompt, draw_without_errors(prompt, claim)) == [ask(claim, scene)]


def test_a_missing_thing_fails_all_claims_about_it() -> None:
    missed = misses(
        "two red cats left of a dog", draw_without_errors("two red cats left of a dog", Claim("object", "cat"))
    )
    assert missed == [
        "Are there any cats in the image?",
        "Are there exactly two cats in the image?",
        "Are the cats red?",
        "Are the cats to the left of the dog?",
    ]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Is there a giraffe in the image?", "no"),
        ("Are there four bagels?", "no"),
        ("Are there three bagels visible in the picture?", "yes"),
        ("Is the violin above the bagels?", "yes"),
        ("Is the violin red?", "no"),
        ("Would a child like it?", "unsure"),
        ("", "unsure"),
    ],
)
def test_other_questions_are_answered_or_unsure(question: str, expected: str) -> None:
    assert verify(question, draw_without_errors("three bagels under a violin")) == expected


@pytest.mark.parametrize("size", [(1, 1), (40, 700), (512, 512)])
def test_a_picture_that_is_not_a_storyboard_gives_unsure(size: tuple[int, int]) -> None:
    file = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(file, "PNG")
    assert verify("Is there a cat in the image?", file.getvalue()) == "unsure"


def test_bytes_that_are_not_a_picture_are_an_error() -> None:
    with pytest.raises(BackendError, match="a picture to judge"):
        verify("Is there a cat in the image?", b"not a picture")


def test_a_picture_is_read_once_for_several_questions() -> None:
    read: list[bytes] = []

    def read_and_note(data: bytes) -> Seen | None:
        read.append(data)
        return look(data)

    model, picture = StoryboardChatModel(read_and_note), draw_without_errors("a cat")
    assert [verify("Is there a cat in the image?", picture, model) for _ in range(3)] == ["yes"] * 3
    assert read == [picture]


async def test_of_the_pictures_that_wait_to_be_read_one_that_a_user_waits_for_is_read_first() -> None:
    read, may_go_on = list[str](), threading.Event()

    def read_and_note(data: bytes) -> Seen | None:
        read.append(data.decode())
        assert may_go_on.wait(60)
        return None

    model = StoryboardChatModel(read_and_note)
    async with trio.open_nursery() as nursery:
        for name in ("first", "second", "third", "awaited"):
            request = request_verdict("Is there a cat in the image?", name.encode())
            nursery.start_soon(model.chat, replace(request, interactive=name == "awaited"))
            await trio.testing.wait_all_tasks_blocked()
        may_go_on.set()
    assert read == ["first", "awaited", "second", "third"]


@pytest.mark.slow
def test_a_picture_too_small_for_what_it_shows_is_read_as_far_as_it_goes() -> None:
    prompt = (
        "five purple glass cats left of three wooden chairs under a red metal lamp beside seven tiny green frogs"
        " jumping over two blue plastic boxes"
    )
    for side_px in (16, 64, 96, 144, 192):
        seen = [look(draw_request(ImageRequest(prompt, seed, side_px, side_px))) for seed in range(15)]
    assert None not in seen
