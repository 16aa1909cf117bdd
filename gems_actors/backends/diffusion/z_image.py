"""Z-Image, step by step: requests of any size, prompt length, step count and guidance in one forward.

Source: ZImagePipeline of diffusers 0.39 to 0.42, whose components are used and which tests compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from gems_actors.backends.diffusion import flow_matching
from gems_actors.backends.diffusion.engine_messages import Draw
from gems_actors.backends.diffusion.jobs import Defaults, Job

_MAX_TEXT_TOKENS: Final = 512
_TOKEN_MULTIPLE: Final = 32
"""Multiple to which caption and picture are each padded, with learned tokens that take part in attention."""


class ZImageSteps:
    """Takes the steps of `ZImagePipeline`."""

    name = "ZImagePipeline"
    mixes_sizes = True
    defaults = Defaults(steps=8, guidance=0.0)
    """Defaults of Z-Image-Turbo. With diffusers 0.38 and before, the same schedule had a ninth, wasted step."""

    def __init__(self, pipe: Any, *, splits_attention: bool = False) -> None:
        """Use the components of a stock pipeline.

        Args:
            pipe: stock pipeline with all components on one device.
            splits_attention: whether rows of different lengths attend one by one, without a mask, which flash attention
                does not support.
        """
        self._pipe = pipe
        self._transformer = pipe.transformer
        self._device = pipe.transformer.device
        self._schedules = flow_matching.Schedules(pipe.scheduler, lambda n: torch.linspace(1.0, 1.0 / n, n).tolist())
        self.multiple_px = pipe.vae_scale_factor * 2
        self._lengths = _Lengths() if splits_attention else None
        if self._lengths is not None:
            self._lengths.install(self._transformer)

    def prepare(self, draw: Draw) -> Job:
        """Return the job of a request; its bucket is its size.

        Raises:
            UnfitError: the pipeline does not support this size or number of steps.
        """
        job = flow_matching.new_job(draw, self.defaults, self._schedules, self.multiple_px)
        job.timesteps = tuple((1000 - timestep) / 1000 for timestep in job.timesteps)
        job.rows = 2 if job.guidance else 1
        job.tokens = _padded(job.tokens) + _TOKEN_MULTIPLE
        return job

    def encode(self, jobs: Sequence[Job]) -> None:
        """Set the text embeddings and the noise of each job."""
        # The stock pipeline pads to 512 tokens. They are masked, but their number changes the rounding.
        is_padded = any(job.is_alone for job in jobs)
        flow_matching.set_embeddings(jobs, partial(self._embed, is_padded=is_padded))
        for job in jobs:
            patches = flow_matching.count_patches(job.width_px, job.height_px, self.multiple_px)
            job.tokens = _padded(patches) + _padded(job.text_tokens)
            height, width = (2 * (side // self.multiple_px) for side in (job.height_px, job.width_px))
            shape = (self._transformer.in_channels, 1, height, width)
            job.latents = flow_matching.noise(shape, job.seed, torch.float32, self._device)

    def denoise(self, jobs: Sequence[Job]) -> list[Tensor]:
        """Return the latents of each after its next step, (16, 1, height / 8, width / 8), float32."""
        stepped = []
        predictions = flow_matching.predict(jobs, self._forward, stock_is_apart=False)
        for job, (output, unguided) in zip(jobs, predictions, strict=True):
            velocity = output.float()
            if unguided is not None and job.guidance is not None:
                velocity = velocity + job.guidance * (velocity - unguided.float())
            stepped.append(flow_matching.take_step(_not_none(job.latents), -velocity, job.deltas[job.step]))
        return stepped

    def decode(self, jobs: Sequence[Job], *, tiled: bool = False) -> Tensor:
        """Return the pictures of jobs of one size."""
        vae = self._pipe.vae
        latents = torch.stack([_not_none(job.latents)[:, 0] for job in jobs]).to(vae.dtype)
        latents = latents / vae.config.scaling_factor + vae.config.shift_factor
        with flow_matching.tiling(vae, tiled):
            return flow_matching.to_pixels(vae.decode(latents, return_dict=False)[0])

    def _forward(self, jobs: Sequence[Job], captions: Sequence[Tensor]) -> list[Tensor]:
        timesteps = torch.tensor([job.timesteps[job.step] for job in jobs], dtype=torch.float32)
        latents = [_not_none(job.latents) for job in jobs]
        if self._lengths is not None:
            self._lengths.set(latents, captions)
        outputs: list[Tensor] = self._transformer(
            [latent.to(self._transformer.dtype) for latent in latents],
            timesteps.to(self._device, non_blocking=True),
            list(captions),
            return_dict=False,
        )[0]
        return outputs

    def _embed(self, texts: Sequence[str], *, is_padded: bool) -> list[Tensor]:
        """Return the embeddings of each text without padding: (tokens, 2560 for Qwen3-4B)."""
        pipe = self._pipe
        chats = [
            pipe.tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=True
            )
            for text in texts
        ]
        tokens = pipe.tokenizer(
            chats,
            padding="max_length" if is_padded else "longest",
            max_length=_MAX_TEXT_TOKENS,
            truncation=True,
            return_tensors="pt",
        )
        lengths = tokens.attention_mask.sum(dim=1).tolist()
        hidden = pipe.text_encoder(
            input_ids=tokens.input_ids.to(self._device),
            attention_mask=tokens.attention_mask.to(self._device).bool(),
            output_hidden_states=True,
        ).hidden_states[-2]
        return [row[:length].clone() for row, length in zip(hidden, lengths, strict=True)]


class _Lengths:
    """Row lengths of the current forward, on the host; reading them from a mask would synchronise with the device."""

    def __init__(self) -> None:
        self.picture: list[int] = []
        self.caption: list[int] = []
        self.both: list[int] = []

    def set(self, latents: Sequence[Tensor], captions: Sequence[Tensor]) -> None:
        self.picture = [_padded(latent.shape[-2] * latent.shape[-1] // 4) for latent in latents]
        self.caption = [_padded(len(caption)) for caption in captions]
        self.both = [sum(pair) for pair in zip(self.picture, self.caption, strict=True)]

    def install(self, transformer: Any) -> None:
        """Make every block of a transformer attend row by row."""
        for blocks, field in (
            (transformer.noise_refiner, "picture"),
            (transformer.context_refiner, "caption"),
            (transformer.layers, "both"),
        ):
            for block in blocks:
                block.attention.set_processor(_RowByRow(self, field))


class _RowByRow:
    """Attention for Z-Image's blocks that handles each row separately and needs no mask."""

    def __init__(self, lengths: _Lengths, field: str) -> None:
        self._lengths, self._field = lengths, field

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        freqs_cis: Tensor | None = None,
    ) -> Tensor:
        query, key, value = (
            project(hidden_states).unflatten(-1, (attn.heads, -1)) for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        if attn.norm_q is not None:
            query, key = attn.norm_q(query), attn.norm_k(key)
        if freqs_cis is not None:
            query, key = (_rotate(states, freqs_cis) for states in (query, key))
        query, key, value = (states.transpose(1, 2) for states in (query, key, value))
        if attention_mask is None:
            attended = scaled_dot_product_attention(query, key, value)
        else:
            attended = torch.zeros_like(query)
            for row, length in enumerate(getattr(self._lengths, self._field)):
                own = (slice(row, row + 1), slice(None), slice(length))
                attended[own] = scaled_dot_product_attention(query[own], key[own], value[own])
        output: Tensor = attn.to_out[0](attended.transpose(1, 2).flatten(2, 3))
        return output


def _rotate(states: Tensor, frequencies: Tensor) -> Tensor:
    """Apply rotary position embeddings: (rows, tokens, heads, width) by complex (rows, tokens, width / 2)."""
    pairs = torch.view_as_complex(states.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * frequencies.unsqueeze(2)).flatten(3).type_as(states)


def _padded(tokens: int) -> int:
    return -(-tokens // _TOKEN_MULTIPLE) * _TOKEN_MULTIPLE


def _not_none(tensor: Tensor | None) -> Tensor:
    assert tensor is not None, "a request is encoded before it takes a step"
    return tensor
