"""What each `verify.mode` costs, and whether it gives the same verdicts: the same storyboards, verified in every mode.

Runs `GEMS_PROMPTS`, a prompt file such as that of GenEval2; without it, prompts of our own. The first tables are of
single pictures: calls and tokens of the verifier, and the share of verdicts that are those of `score`. The last one is
of whole tasks, every fourth prompt in up to three rounds: calls and tokens of all roles. The storyboard has no tokens:
they are estimated from what is sent and answered, a token for 4 characters and for each 28 x 28 pixels of a picture.
"""

from __future__ import annotations

import json
import logging
import math
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog
import trio

from actors.decomposer import decompose_request, parse_requirements
from actors.prompting import ask_model
from actors.verifier import verify_picture
from gems_actors.backends import ChatReply, ChatRequest, ImagePart, ImageRequest, TextPart
from gems_actors.backends.pictures import visible_picture
from gems_actors.backends.storyboard import StoryboardChatModel
from gems_actors.backends.storyboard.models import draw_request
from gems_actors.config import ChatConfig, ChatModelConfig, MeshConfig, VerifierErrorConfig, VerifyConfig
from gems_actors.roles import BUILT_IN_ROLES
from gems_actors.supervision.child_main import load_actor
from gems_actors.testing import open_test_mesh
from protocol.costs import chat_cost
from protocol.messages import DrawPicture, DrawSettings, Picture, Spent
from tests.benchmarks.bench_loop import write_prompts

MODES: Final = ("score", "batch", "evidence")
_CHARS_A_TOKEN, _SIDE_PX, _PATCH_PX = 4, 768, 28
_PICTURE_TOKENS: Final = math.ceil(_SIDE_PX / _PATCH_PX) ** 2
_AT_ONCE, _ROUNDS, _EVERY = 32, 3, 4


class CountingChat(StoryboardChatModel):
    """A storyboard's chat model that reports estimated tokens."""

    async def chat(self, request: ChatRequest) -> ChatReply:
        """Return the answer, with the tokens that a language model would have read and written."""
        reply = await super().chat(request)
        parts = [part for message in request.messages for part in message.parts]
        chars = sum(len(part.text) for part in parts if isinstance(part, TextPart))
        pictures = sum(isinstance(part, ImagePart) for part in parts)
        prompt = chars // _CHARS_A_TOKEN + pictures * _PICTURE_TOKENS
        # An answer of `score` is one token; the storyboard says it in a sentence.
        said = 1 if request.choices else max(1, len(reply.text) // _CHARS_A_TOKEN)
        return replace(reply, usage={"prompt_tokens": prompt, "completion_tokens": said})


@asynccontextmanager
async def open_counting_chat(settings: ChatModelConfig) -> AsyncIterator[CountingChat]:
    """Open the model, for the setting `chat.backend`."""
    yield CountingChat()


def read_prompts() -> list[str]:
    """Return the prompts of `GEMS_PROMPTS`, or prompts of our own grammar."""
    if "GEMS_PROMPTS" not in os.environ:
        return write_prompts(200)
    lines = Path(os.environ["GEMS_PROMPTS"]).read_text().splitlines()
    return [json.loads(line)["prompt"] for line in lines]


async def verify_pictures(prompts: Sequence[str], errors: VerifierErrorConfig) -> None:
    """Print what the verifier costs in every mode, and how far its verdicts are those of `score`."""
    chat = CountingChat(errors=errors)
    spent = dict.fromkeys(MODES, Spent())
    same = dict.fromkeys(MODES, 0)
    total = 0
    differing: list[str] = []
    for seed, prompt in enumerate(prompts):
        file = await trio.to_thread.run_sync(draw_request, ImageRequest(prompt, seed, _SIDE_PX, _SIDE_PX))
        picture = await trio.to_thread.run_sync(visible_picture, file, "image/png")
        request = decompose_request(prompt, with_claims=True)
        requirements = (await ask_model(chat, request, parse_requirements)).value
        total += len(requirements)
        told = {}
        for mode in MODES:
            found = await verify_picture(chat, picture, requirements, VerifyConfig(mode=mode))
            told[mode] = [verdict.answer for verdict in found.verdicts]
            same[mode] += sum(a == b for a, b in zip(told["score"], told[mode], strict=True))
            spent[mode] = _add(spent[mode], found.spent)
        questions = zip(requirements, told["score"], told["evidence"], strict=True)
        differing += [f"{prompt!r}: {item.question} {a} {b}" for item, a, b in questions if a != b]
    noise = f", verifier with simulated errors ({errors})" if str(errors) else ""
    print(f"{len(prompts)} pictures, {total} requirements{noise}: calls, of score's, tokens, same verdicts as score")
    for mode in MODES:
        calls, tokens = spent[mode].calls / len(prompts), spent[mode].tokens / len(prompts)
        share = spent[mode].calls / spent["score"].calls
        print(f"{mode:9} {calls:6.2f}  {share:5.2f}  {tokens:8.0f}  {same[mode] / total:6.4f}", flush=True)
    for line in differing[: int(os.environ.get("GEMS_SHOWN", "0"))]:
        print(line)


def _add(first: Spent, second: Spent) -> Spent:
    return Spent(
        calls=first.calls + second.calls,
        prompt_tokens=first.prompt_tokens + second.prompt_tokens,
        completion_tokens=first.completion_tokens + second.completion_tokens,
    )


async def draw_tasks(prompts: Sequence[str], data: Path, mode: str) -> list[Picture]:
    """Return the pictures of whole tasks in one mode."""
    verify = VerifyConfig(mode=mode)  # type: ignore[arg-type]  # one of MODES
    chat = ChatConfig(backend="tests.benchmarks.bench_verify:open_counting_chat")
    config = MeshConfig(data_dir=str(data), verify=verify, chat=chat)
    limiter = trio.CapacityLimiter(_AT_ONCE)
    pictures: list[Picture] = []
    async with open_test_mesh(*(load_actor(role, config) for role in BUILT_IN_ROLES), config=config) as mesh:

        async def draw(line: int, prompt: str) -> None:
            async with limiter:
                settings = DrawSettings(max_rounds=_ROUNDS)
                pictures.append(
                    await mesh.ask(DrawPicture(run=mode, line=line, prompt=prompt, seed=line, settings=settings))
                )

        async with trio.open_nursery() as nursery:
            for line, prompt in enumerate(prompts):
                nursery.start_soon(draw, line, prompt)
    return pictures


def main() -> None:
    """Print the tables."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    prompts = read_prompts()
    for errors in (VerifierErrorConfig(), VerifierErrorConfig(miss=0.3, false_alarm=0.05)):
        trio.run(verify_pictures, prompts, errors)
    prompts = prompts[::_EVERY]
    print(f"{len(prompts)} tasks of up to {_ROUNDS} rounds: images, calls, of the verifier, tokens, all met")
    for mode in MODES:
        with tempfile.TemporaryDirectory() as name:
            pictures = trio.run(draw_tasks, prompts, Path(name), mode)
        costs = [chat_cost(picture.spent) for picture in pictures]
        count = len(pictures)
        images = sum(len(picture.attempts) for picture in pictures) / count
        verifier = sum(picture.spent["verifier"].calls for picture in pictures) / count
        calls, tokens = (sum(getattr(cost, name) for cost in costs) / count for name in ("calls", "tokens"))
        met = 100 * sum(picture.all_met for picture in pictures) / count
        print(f"{mode:9} {images:5.2f}  {calls:6.2f}  {verifier:6.2f}  {tokens:8.0f}  {met:5.1f} %", flush=True)


if __name__ == "__main__":
    main()
