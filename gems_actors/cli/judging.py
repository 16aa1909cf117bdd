"""Has a judge answer a benchmark's questions on the pictures, and keeps each answer: judged once is judged.

The judge is a model of its own, named by `[judge]` in the settings; it knows nothing of the agent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TextIO

import click
import msgspec
import trio

from gems_actors.backends import ChatMessage, ChatRequest, ImagePart, TextPart
from gems_actors.backends.openai_chat import OpenAIChatModel, open_openai_chat
from gems_actors.cli.benchmarks import Prompt
from gems_actors.cli.scoring import QUESTION_END, Judged, score_answer
from gems_actors.config import ChatModelConfig
from gems_actors.tasks import gather

_PICTURES_AT_ONCE: Final = 64


def judge_pictures(
    judge: ChatModelConfig,
    prompts: Sequence[Prompt],
    pictures: Mapping[str, Sequence[Path]],
    path: Path,
    stream: TextIO,
) -> list[Judged]:
    """Return what the judge finds of each picture, in the order of the prompts.

    Args:
        judge: the model.
        prompts: with their questions.
        pictures: by the ids of the prompts.
        path: a file of what was judged before, to which the rest is added.
        stream: told how far it is.

    Raises:
        RequestError: a picture could not be judged; what was judged before is kept.
        ConfigError: the judge cannot be asked with these settings.
    """
    known = {(item.id, item.digest, item.judge): item for item in _read(path)}
    name = judge.model or judge.url or judge.backend
    wanted = [
        (prompt, picture, hashlib.sha256(picture.read_bytes()).hexdigest())
        for prompt in prompts
        for picture in pictures[prompt.id]
    ]
    missing = [item for item in wanted if (item[0].id, item[2], name) not in known]
    if missing:

        async def main() -> None:
            limiter = trio.CapacityLimiter(_PICTURES_AT_ONCE)
            async with open_openai_chat(judge, "judge") as model:
                with path.open("ab") as sink:

                    async def one(prompt: Prompt, picture: Path, digest: str) -> None:
                        async with limiter:
                            scores = await _judge(model, prompt.record, picture)
                        found = Judged(id=prompt.id, digest=digest, judge=name, scores=scores)
                        known[prompt.id, digest, name] = found
                        sink.write(msgspec.json.encode(found) + b"\n")
                        sink.flush()

                    await gather(*(partial(one, *item) for item in missing))

        click.echo(f"judging {len(missing)} of {len(wanted)} pictures by {name}", file=stream)
        trio.run(main)
    return [known[prompt.id, digest, name] for prompt, _, digest in wanted]


async def _judge(model: OpenAIChatModel, record: Mapping[str, Any], picture: Path) -> tuple[float, ...]:
    """Return the score of each question; the picture comes first, so that the server can share its work among them."""
    image = ImagePart(await trio.Path(picture).read_bytes(), "image/png")
    scores = []
    for question, answer in record["vqa_list"]:
        asked = (ChatMessage("user", (image, TextPart(question + QUESTION_END))),)
        reply = await model.first_tokens(ChatRequest("verify", {"question": question}, asked))
        scores.append(score_answer(question, answer, reply.probabilities))
    return tuple(scores)


def _read(path: Path) -> list[Judged]:
    if not path.exists():
        return []
    found = []
    with path.open("rb") as lines:
        for line in lines:
            try:
                found.append(msgspec.json.decode(line, type=Judged))
            except msgspec.DecodeError:  # a line torn by a kill: its picture is judged again
                continue
    return found
