"""A tiny vision-language model of a real model class, built here without a hub or a download.

Its body keeps random weights. Its output head is fitted, by least squares on the last hidden states of a few chats of
each role, to produce that role's answer, a single token, and then the end token. Pictures go through the vision tower.
Run it as a program with a folder and the answers as JSON, keyed by `route`, `decompose`, `verify`, `compress` and
`refine`, so that the test process does not import torch. With further arguments it then becomes `transformers`, the
command, with these: a second process would take seconds of CPU to import the same libraries.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    Qwen3Config,
)

from actors.compressor import compress_request
from actors.decomposer import decompose_request
from actors.planner import route_request
from actors.refiner import Pictures, refine_request
from actors.rounds import PastRound
from actors.verifying.questions import verify_request
from gems_actors.backends import ChatRequest, ImagePart, TextPart
from protocol.messages import Attempt, ImageRef
from skills import Catalogue, builtin_folder
from tests.gems_actors.backends.diffusion.tiny import tiny_tokenizer

_IMAGE: Final = "<image>"
_TEMPLATE: Final = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' }}"
    "{%- if m.content is string %}{{- m.content }}{%- else %}{%- for c in m.content %}"
    "{%- if c.type == 'image' %}{{- '<image>' }}{%- elif c.type == 'text' %}{{- c.text }}{%- endif %}"
    "{%- endfor %}{%- endif %}{{- '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
_PROMPTS: Final = (
    "a red fox", "seven owls under a sign that says \"OPEN\"", "misty hills at dawn, watercolour, and nobody there",
    "a poster for a bakery with a price list, three loaves and a cat asleep on the counter", "two dogs left of a tree",
    "a quiet street in the rain with a yellow umbrella, seen from above, and a tram that turns the corner",
)  # fmt: skip


def build(folder: Path, answers: Mapping[str, str]) -> None:
    """Save the model and its processor."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([_IMAGE], special_tokens=True)
    tokenizer.add_tokens(list(answers.values()))
    tokenizer.chat_template = _TEMPLATE
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    config = LlavaConfig(
        text_config=Qwen3Config(
            vocab_size=len(tokenizer), hidden_size=256, intermediate_size=256, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, head_dim=64, max_position_embeddings=65_536,
            tie_word_embeddings=False, eos_token_id=end, pad_token_id=end, bos_token_id=None,
        ),
        vision_config=CLIPVisionConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=64,
            patch_size=16, projection_dim=32,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids(_IMAGE),
        image_seq_length=16,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = end
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"height": 64, "width": 64}, crop_size={"height": 64, "width": 64}, do_center_crop=False
        ),
        tokenizer=tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token=_IMAGE,
        chat_template=_TEMPLATE,
    )
    _fit_head(model, processor, answers, end)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _fit_head(model: Any, processor: Any, answers: Mapping[str, str], end: int) -> None:
    """Fit the head's rows of the answers and of the end token; all other tokens get the logit 0."""
    ids = [processor.tokenizer.convert_tokens_to_ids(answer) for answer in answers.values()]
    rows = [*ids, end]
    features, targets = [], []
    chats = _chats()
    for row, role in enumerate(answers):
        for request in chats[role]:
            inputs = _inputs_of(request, processor)
            with torch.inference_mode():
                question, reply = model.model(  # causal: the answer does not change the state before it
                    **{
                        **inputs,
                        "input_ids": torch.cat([inputs["input_ids"], torch.tensor([[ids[row]]])], dim=1),
                        "attention_mask": torch.cat(
                            [inputs["attention_mask"], torch.ones(1, 1, dtype=torch.long)], dim=1
                        ),
                    }
                ).last_hidden_state[0, -2:]
            features += [question, reply]
            targets += [_target(row, len(rows)), _target(len(rows) - 1, len(rows))]
    matrix = torch.stack(features).double()
    ridge = 1e-4 * matrix.square().sum(dim=1).mean() * torch.eye(matrix.shape[1], dtype=torch.double)
    fitted = torch.linalg.solve(matrix.T @ matrix + ridge, matrix.T @ torch.stack(targets).double())
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.weight[rows] = fitted.T.float()


def _target(row: int, count: int) -> torch.Tensor:
    target = torch.full((count,), -10.0)
    target[row] = 10.0
    return target


def _inputs_of(request: ChatRequest, processor: Any) -> dict[str, Any]:
    pictures = []
    messages = []
    for message in request.messages:
        content: list[dict[str, Any]] = []
        for part in message.parts:
            if isinstance(part, TextPart):
                content.append({"type": "text", "text": part.text})
            else:
                pictures.append(Image.open(BytesIO(part.data)).convert("RGB"))
                content.append({"type": "image"})
        messages.append({"role": message.speaker, "content": content})
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    return dict(processor(text=text, images=pictures or None, return_tensors="pt"))


def _picture(seed: int) -> ImagePart:
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return ImagePart(file.getvalue(), "image/png")


def _chats() -> dict[str, Sequence[ChatRequest]]:
    """Return a few chats of each role, as the roles write them."""
    skills = Catalogue([builtin_folder()]).skills()
    pictures = [_picture(seed) for seed in range(len(_PROMPTS))]
    past = [_past_round(prompt, number) for number, prompt in enumerate(_PROMPTS)]
    return {
        "route": [route_request(prompt, skills) for prompt in _PROMPTS],
        "decompose": [decompose_request(prompt) for prompt in _PROMPTS],
        "verify": [
            verify_request(picture, f"Is there {prompt} in the image?")
            for picture, prompt in zip(pictures, _PROMPTS, strict=True)
        ],
        "compress": [compress_request(item, [], picture) for item, picture in zip(past, pictures, strict=True)],
        "refine": [
            refine_request(prompt, past[: number % 2 + 1], Pictures(pictures[: number % 2 + 1]), "full")
            for number, prompt in enumerate(_PROMPTS)
        ],
    }


def _past_round(prompt: str, number: int) -> PastRound:
    image = ImageRef(digest=f"sha256:{number:064}", media_type="image/png", bytes=1, width_px=64, height_px=64)
    attempt = Attempt(round=number + 1, candidate=1, prompt=prompt, image=image, seed=number, verdicts=())
    question = f"Is there {prompt} in the image?"
    return PastRound(
        attempt=attempt,
        met=(),
        unmet=(question,),
        unsure=(),
        findings=(f"unmet: {question}",),
        reasoning="",
        experience="Say it once." if number % 2 else None,
    )


if __name__ == "__main__":
    build(Path(sys.argv[1]), json.loads(sys.argv[2]))
    if sys.argv[3:]:
        (transformers,) = entry_points(group="console_scripts", name="transformers")
        sys.argv = ["transformers", *sys.argv[3:]]
        sys.exit(transformers.load()())
