"""Drawing accepts any prompt, is deterministic, and makes the errors that the seed decides."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from gems_actors.backends import ImageRequest
from gems_actors.backends.storyboard import StoryboardImageModel
from gems_actors.backends.storyboard.error_model import choose_errors, error_probability
from gems_actors.backends.storyboard.grammar import parse_scene
from gems_actors.backends.storyboard.models import draw_request
from gems_actors.backends.storyboard.scene import Claim, Scene, claims_of
from tests.gems_actors.backends.storyboard.pictures import PROMPTS

_DRAW = """
import hashlib, sys
from gems_actors.backends import ImageRequest
from gems_actors.backends.storyboard.models import draw_request
print(hashlib.sha256(draw_request(ImageRequest(sys.argv[1], 11, 640, 512))).hexdigest())
"""


def size_of(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        return picture.size


async def test_the_same_request_gives_the_same_bytes() -> None:
    request = ImageRequest(PROMPTS[5], 7, 768, 768)
    first = await StoryboardImageModel().generate(request)
    assert first == await StoryboardImageModel().generate(request)
    assert first.media_type == "image/png"


@pytest.mark.slow
def test_another_process_gives_the_same_bytes() -> None:
    command = [sys.executable, "-c", _DRAW, PROMPTS[6]]
    digests = {subprocess.run(command, capture_output=True, check=True).stdout for _ in range(2)}
    assert len(digests) == 1


def test_the_title_shows_the_seed_that_the_user_gave() -> None:
    first = draw_request(ImageRequest("a cat", 4_000_000_000, 512, 512, task_seed=11))
    assert first == draw_request(ImageRequest("a cat", 11, 512, 512))  # a single thing is never lost
    assert first != draw_request(ImageRequest("a cat", 4_000_000_000, 512, 512))


def test_a_word_that_is_both_attribute_and_action_is_written_once() -> None:
    (dog,) = parse_scene("a sleeping blue dog\n\nMake sure: the dog is sleeping").things
    assert dog.written == ("sleeping",)


def test_another_seed_gives_another_picture() -> None:
    pictures = {draw_request(ImageRequest(PROMPTS[7], seed, 512, 512)) for seed in range(4)}
    assert len(pictures) == 4


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(prompt="a ßign", seed=1)  # its capital is two letters
@given(prompt=st.text(min_size=1, max_size=400), seed=st.integers(0, 2**32 - 1))
@pytest.mark.slow
def test_any_text_can_be_drawn(prompt: str, seed: int) -> None:
    assert size_of(draw_request(ImageRequest(prompt, seed, 320, 256))) == (320, 256)


_WORDS = (
    'a the two three sixty 99 red brown striped glass cat dogs sheep sign and , . ; " “ ” : ! left of on top of behind '
    "in front of inside between chasing jumping over is are of Make sure: bar chart apples 3 no without there exactly "
    "text style 猫 é 🎉 \n"
)
_WORD = st.sampled_from(_WORDS.split(" "))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(words=st.lists(_WORD, min_size=1, max_size=60), seed=st.integers(0, 9))
@pytest.mark.slow
def test_known_words_in_any_order_can_be_drawn(words: list[str], seed: int) -> None:
    assert size_of(draw_request(ImageRequest(" ".join(words), seed, 384, 256))) == (384, 256)


@pytest.mark.parametrize(
    "prompt",
    [
        "x" * 32_000,
        "a red cat and " * 2_285,
        "“" * 32_000,
        '"' + "word " * 6_000 + '"',
        "猫" * 32_000,
        "\0\ud800 \n" * 9,
    ],
)
@pytest.mark.slow
def test_the_longest_prompts_are_drawn(prompt: str) -> None:
    assert size_of(draw_request(ImageRequest(prompt[:32_000], 1, 512, 512))) == (512, 512)


@pytest.mark.parametrize("size", [(256, 256), (2048, 2048), (256, 2048), (2048, 256)])
@pytest.mark.slow
def test_every_size_is_drawn(size: tuple[int, int]) -> None:
    for prompt in PROMPTS[6:18:5]:
        assert size_of(draw_request(ImageRequest(prompt, 1, *size))) == size


def errors_over_seeds(prompt: str, claim: Claim) -> int:
    scene = parse_scene(prompt)
    return sum(claim in choose_errors(scene, seed) for seed in range(400))


def test_stress_lowers_the_error_rate_of_that_requirement_only() -> None:
    prompt, claim, other = "three candles left of a cat", Claim("count", "candle", "3"), Claim("count", "cat", "1")
    plain = errors_over_seeds(prompt, claim)
    once = errors_over_seeds(f"{prompt} Make sure: there are exactly three candles", claim)
    thrice = errors_over_seeds(f"{prompt} Make sure: there are exactly three candles!!", claim)
    assert plain > 2 * once > 4 * thrice
    assert errors_over_seeds(f"{prompt} Make sure: there are exactly three candles!!", other) == errors_over_seeds(
        prompt, other
    )


def test_stress_causes_no_new_errors() -> None:
    for seed in range(100):
        plain = choose_errors(parse_scene("five pigs on top of a car"), seed)
        stressed = choose_errors(
            parse_scene("five pigs on top of a car Make sure: the pigs are on top of the car; there are some pigs!"),
            seed,
        )
        assert stressed <= plain


def test_more_requirements_cause_more_errors() -> None:
    small, large = parse_scene("two cats"), parse_scene("two cats, three red dogs, four blue pigs and a green bird")
    claim = Claim("count", "cat", "2")
    chances = [error_probability(claim, scene, len(claims_of(scene))) for scene in (small, large)]
    assert chances[0] < chances[1]


def test_something_is_always_drawn() -> None:
    scene = parse_scene("a cat")
    assert not any(Claim("object", "cat") in choose_errors(scene, seed) for seed in range(300))
    assert choose_errors(Scene(), 1) == frozenset()
