"""Pictures of prompts without simulated errors, and answers to questions about them."""

from __future__ import annotations

import io

import trio
from PIL import Image

from gems_actors.backends import ChatMessage, ChatRequest, ImagePart
from gems_actors.backends.storyboard import StoryboardChatModel
from gems_actors.backends.storyboard.drawing import draw
from gems_actors.backends.storyboard.error_model import apply_errors
from gems_actors.backends.storyboard.grammar import parse_scene
from gems_actors.backends.storyboard.scene import Claim

PROMPTS = (
    "a green backpack and a pig",
    "four rabbits and a sheep",
    "seven black cows, two mice and an orange",
    "three bagels under a violin",
    "six rabbits on top of a wooden suitcase",
    "a red umbrella to the left of five rabbits, and a bicycle",
    "five red cats behind two chairs behind three turtles",
    "four brown bagels, and six metal mushrooms in front of four glass violins",
    "five checkered lions jumping over a penguin, and two striped bagels",
    "a monkey behind three white donuts on top of five spotted guitars",
    "four metal umbrellas to the left of seven yellow pigs under a black croissant",
    "six sparkling toys to the right of a plastic truck chasing two stone dogs",
    "a photo of a purple computer keyboard and a brown and white dog",
    "a cat between a dog and a bird",
    "a fluffy dog inside a red car next to a happy clown",
    "a bar chart of fruit sales: apples 30, pears 12, plums 45",
    'a poster that says "OPEN late; 7 Days!" above a door',
    "a quiet morning by the sea, watercolour",
    "一只猫, “每日新鲜烘焙” and a café",
    "24 candles and sixty birds",
)


def draw_without_errors(prompt: str, *errors: Claim, width_px: int = 768, height_px: int = 768) -> bytes:
    """Return the picture of a prompt without errors other than the named ones."""
    scene = apply_errors(parse_scene(prompt), frozenset(errors), seed=3)
    return draw(scene, seed=3, width_px=width_px, height_px=height_px, caption=prompt)


def encode_again(data: bytes, *, kind: str = "PNG", mode: str = "RGB", quality: int = 90) -> bytes:
    """Return the same picture as another program would save it."""
    file = io.BytesIO()
    Image.open(io.BytesIO(data)).convert(mode).save(file, kind, quality=quality)
    return file.getvalue()


def request_verdict(question: str, picture: bytes) -> ChatRequest:
    """Return the request to judge a picture."""
    message = ChatMessage("user", (ImagePart(picture, "image/png"),))
    return ChatRequest("verify", {"question": question}, (message,))


def verify(question: str, picture: bytes, model: StoryboardChatModel | None = None) -> str:
    """Return the first word of the verdict."""
    return trio.run((model or StoryboardChatModel()).chat, request_verdict(question, picture)).text.split(":")[0]
